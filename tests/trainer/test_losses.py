"""The loss over a batch's distinct rows against the same loss written out row by row."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.factories import make_spec
from tests.trainer.test_model import make_model
from trainer.model.losses import InBatchSoftmax, find_distinct
from trainer.model.optimizers import make_optimizer
from trainer.model.towers import TwoTower, to_unit

BATCHES: dict[str, Any] = {
    "one row": ([3], [5]),
    "one product only": ([0, 1, 2, 0], [7, 7, 7, 7]),
    "one buyer only": ([4, 4, 4, 4], [0, 1, 2, 1]),
    "one purchase again and again": ([2, 2, 2], [6, 6, 6]),
    "nothing twice": ([0, 1, 2, 3], [8, 6, 4, 2]),
    **{f"random {seed}": np.random.default_rng(seed).integers(0, (6, 9), (20, 2)).T for seed in range(4)},
}


def compute_by_rows(model: TwoTower, buyers: Any, products: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss and penalty as they are defined, each row of the batch for itself."""
    query, candidate = model.query_tower(buyers), model.candidate_tower(products)
    loss = model.softmax(to_unit(query), to_unit(candidate), products, tf.gather(model.log_q.value, products))
    return loss, model.l2 * (tf.reduce_sum(tf.square(query)) + tf.reduce_sum(tf.square(candidate))) / len(buyers)


@pytest.mark.parametrize("name", BATCHES)
def test_losses_and_gradients_are_those_of_the_rows(name: str) -> None:
    """Both losses and the gradients of both tables, repeated buyers and products and accidental hits included."""
    buyers, products = (tf.constant(ids, tf.int32) for ids in BATCHES[name])
    model = make_model(l2=0.1)
    model.correct_for(np.arange(1, 10))
    found = []
    for compute in (compute_by_rows, TwoTower.compute_losses):
        with tf.GradientTape() as tape:
            loss, penalty = compute(model, buyers, products)
            total = loss + penalty
        gradients = [tf.convert_to_tensor(part) for part in tape.gradient(total, model.trainable_weights)]
        found.append([loss, penalty, *gradients])
    for expected, other in zip(*found, strict=True):
        assert other.numpy() == pytest.approx(expected.numpy(), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_a_training_step_is_that_of_the_rows(optimizer: str) -> None:
    """After some steps the weights are those of a training whose gradients are taken row by row."""
    models = [make_model(l2=0.1) for _ in range(2)]
    for model in models:
        model.compile(optimizer=make_optimizer(make_spec(optimizer=optimizer)), jit_compile=False)
    models[1].set_weights(models[0].get_weights())
    for name in BATCHES:
        buyers, products = (tf.constant(ids, tf.int32) for ids in BATCHES[name])
        models[0].train_on_batch(buyers, products)
        with tf.GradientTape() as tape:
            total = tf.add_n(compute_by_rows(models[1], buyers, products))
        weights = models[1].trainable_weights
        models[1].optimizer.apply_gradients(zip(tape.gradient(total, weights), weights, strict=True))
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_a_product_of_nearly_all_rows_leaves_its_loss_finite() -> None:
    """Where 50,000 rows name one product that all buyers are sure of, rounding makes no logarithm of 0 or less."""
    rows = 50_000
    products = find_distinct(tf.constant([0] * (rows - 1) + [1]))
    buyers = find_distinct(tf.range(rows) % 7)
    query = to_unit(tf.random.stateless_normal([7, 4], [1, 2]) * 0.1 + tf.constant([1.0, 0, 0, 0]))
    candidate = tf.constant([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    with tf.GradientTape() as tape:
        tape.watch(query)
        loss = InBatchSoftmax(0.05).compare_distinct(query, candidate, buyers, products, tf.zeros(2))
    assert 0 <= float(loss) < 0.01
    assert np.isfinite(tape.gradient(loss, query)).all()


@pytest.mark.parametrize("tower", ["query_tower", "candidate_tower"])
def test_a_vector_that_is_nan_makes_the_loss_nan(tower: str) -> None:
    """No comparison on the way may hide it."""
    model = make_model()
    table = getattr(model, tower).embeddings
    table.assign(tf.tensor_scatter_nd_update(table.value, [[2]], [[np.nan] * 4]))
    loss, penalty = model.compute_losses(tf.constant([0, 1, 2]), tf.constant([2, 2, 1]))
    assert np.isnan(loss)
    assert np.isnan(penalty)
