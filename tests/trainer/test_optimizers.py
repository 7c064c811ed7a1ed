"""The sparse optimizers against the dense ones."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model.optimizers import LazyAdam, SparseAdagrad, UniqueRows, unique_rows


def to_slices(rows: list[int], values: Any) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(rows), tf.constant([5, 2], tf.int32))


def make_steps(steps: int = 6) -> list[tf.IndexedSlices]:
    """Gradients of a [5, 2] table with repeated and left-out rows."""
    rng = np.random.default_rng(5)
    return [to_slices(rng.integers(0, 5, 7).tolist(), rng.normal(size=(7, 2))) for _ in range(steps)]


def train(optimizer: Any, gradients: list[Any]) -> np.ndarray[Any, Any]:
    variable = keras.Variable(np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2))
    for gradient in gradients:
        optimizer.apply([gradient], [variable])
    return np.asarray(variable.numpy())


def test_unique_rows_sum_a_rows_mentions() -> None:
    """Each touched row stands once, with the sum; a second call changes nothing."""
    once = unique_rows(to_slices([3, 1, 3], [[1, 2], [10, 20], [100, 200]]))
    assert once.indices.numpy().tolist() == [3, 1]
    assert once.values.numpy().tolist() == [[101, 202], [10, 20]]
    assert unique_rows(once) is once
    assert isinstance(once, UniqueRows)


def test_sparse_adagrad_is_the_dense_one() -> None:
    """Slices with repeated rows move the weights exactly as the dense gradient of the same numbers does."""
    gradients = make_steps()
    dense = train(keras.optimizers.Adagrad(0.3), [tf.convert_to_tensor(gradient) for gradient in gradients])
    sparse = train(SparseAdagrad(0.3), gradients)
    assert sparse == pytest.approx(dense, rel=1e-5, abs=1e-6)


def test_keras_adagrad_still_squares_mentions_one_by_one() -> None:
    """The reason for our own: when this fails, Keras has mended its, and ours may go."""
    gradient = to_slices([1, 1], [[1, 1], [1, 1]])
    dense = train(keras.optimizers.Adagrad(0.3), [tf.convert_to_tensor(gradient)])
    assert train(keras.optimizers.Adagrad(0.3), [gradient]) != pytest.approx(dense, rel=1e-3)


def test_lazy_adam_is_the_dense_one_where_all_rows_are_touched() -> None:
    """With every row in every step there is nothing to be lazy about."""
    rng = np.random.default_rng(6)
    gradients = [to_slices([0, 1, 2, 3, 4, 2], rng.normal(size=(6, 2))) for _ in range(6)]
    dense = train(keras.optimizers.Adam(0.1), [tf.convert_to_tensor(gradient) for gradient in gradients])
    assert train(LazyAdam(0.1), gradients) == pytest.approx(dense, rel=1e-4, abs=1e-6)


def test_lazy_adam_leaves_untouched_rows_alone() -> None:
    """A row that only the first step touches stays where that step put it; dense Adam would move it on."""
    first, later = to_slices([4], [[1, 1]]), to_slices([0], [[1, 1]])
    after_one = train(LazyAdam(0.1), [first])
    after_many = train(LazyAdam(0.1), [first, later, later])
    assert np.array_equal(after_one[4], after_many[4])
    assert not np.array_equal(after_one[0], after_many[0])


@pytest.mark.parametrize(("ours", "theirs"), [(SparseAdagrad, "Adagrad"), (LazyAdam, "Adam")])
def test_dense_gradients_go_the_usual_way(ours: Any, theirs: str) -> None:
    """A kernel's dense gradient is Keras' own business."""
    gradients = [tf.convert_to_tensor(gradient) for gradient in make_steps(3)]
    assert np.array_equal(train(ours(0.1), gradients), train(getattr(keras.optimizers, theirs)(0.1), gradients))


def test_adagrad_changes_nothing_but_touched_rows() -> None:
    """Rows that no batch named keep their first weights to the bit."""
    after = train(SparseAdagrad(0.3), [to_slices([1, 1], [[1, 1], [1, 1]])])
    before = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
    assert np.array_equal(np.delete(after, 1, axis=0), np.delete(before, 1, axis=0))
