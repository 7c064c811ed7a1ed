"""The layers, the loss and the model: what they compute, that they survive a file, and what shapes they refuse."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.factories import make_interactions, make_spec
from trainer.data.batches import to_test_batches, to_train_batches
from trainer.data.splitting import Pairs, split_by_time
from trainer.model.losses import InBatchSoftmax
from trainer.model.optimizers import make_optimizer
from trainer.model.towers import Tower, TwoTower, to_unit


def make_model(**changes: Any) -> TwoTower:
    model = TwoTower(**{"buyers": 6, "products": 9, "dim": 4, "temperature": 0.1, "l2": 0.01, **changes})
    model.compile(optimizer=make_optimizer(make_spec()), jit_compile=False)
    return model


def make_batch(size: int = 5) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant([0, 1, 2, 0, 4][:size], tf.int32), tf.constant([3, 8, 3, 1, 2][:size], tf.int32)


def test_tower_answers_its_table_rows() -> None:
    """Positions are answered with their rows, a repeated one twice."""
    tower = Tower(3, 2)
    tower.build()
    answer = tower(tf.constant([2, 0, 2]))
    assert np.array_equal(answer, tower.embeddings.numpy()[[2, 0, 2]])


@pytest.mark.parametrize("positions", [np.zeros((2, 2), np.int32), np.zeros(2, np.float32), np.int32(1)])
def test_tower_refuses_other_shapes(positions: Any) -> None:
    """The error shows what was received."""
    tower = Tower(3, 2, name="query_tower")
    tower.build()
    with pytest.raises(ValueError, match=r"query_tower expects whole numbers of shape \[batch\]; received"):
        tower(tf.constant(positions))


def test_tower_survives_its_config() -> None:
    """`from_config` makes the same layer."""
    tower = Tower.from_config(Tower(3, 2, name="query_tower").get_config())
    assert (tower.rows, tower.dim, tower.name) == (3, 2, "query_tower")


def test_softmax_is_what_its_formula_says() -> None:
    """The loss equals one written out in numpy, with logQ and without the accidental hit of rows 0 and 2."""
    rng = np.random.default_rng(3)
    query, candidate = (to_unit(tf.constant(rng.normal(size=(5, 4)), tf.float32)).numpy() for _ in range(2))
    products, log_q = np.array([3, 8, 3, 1, 2]), np.log(rng.uniform(0.1, 1, 5)).astype(np.float32)
    logits = query @ candidate.T / 0.1 - log_q
    logits[0, 2] = logits[2, 0] = -np.inf
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    loss = InBatchSoftmax(0.1)(query, candidate, tf.constant(products), log_q)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_softmax_gives_a_masked_row_no_gradient() -> None:
    """A batch of one product alone has nothing to tell apart: loss 0, gradient 0, no nan."""
    query = tf.Variable(to_unit(tf.random.stateless_normal([3, 4], [1, 2])))
    with tf.GradientTape() as tape:
        loss = InBatchSoftmax(0.1)(query, query, tf.constant([7, 7, 7]), tf.zeros(3))
    assert float(loss) == 0
    assert np.array_equal(tape.gradient(loss, query), np.zeros((3, 4)))


def test_softmax_refuses_other_shapes_and_survives_its_config() -> None:
    """Vectors of different widths, or ids that are no vector, are refused with their shapes."""
    softmax = InBatchSoftmax.from_config(InBatchSoftmax(0.25).get_config())
    assert softmax.temperature == 0.25
    with pytest.raises(ValueError, match=r"received \(3, 4\) and \(3, 5\)"):
        softmax(tf.zeros([3, 4]), tf.zeros([3, 5]), tf.zeros(3), tf.zeros(3))
    with pytest.raises(ValueError, match=r"received \(3, 1\) and \(3,\)"):
        softmax(tf.zeros([3, 4]), tf.zeros([3, 4]), tf.zeros([3, 1]), tf.zeros(3))


def test_model_reports_the_penalty_apart() -> None:
    """`loss` has no L2 in it; the penalty is l2 times the batch's mean squared lengths, and the total their sum."""
    model, plain = make_model(), make_model(l2=0.0)
    plain.set_weights(model.get_weights())
    buyers, products = make_batch()
    loss, penalty = model.compute_losses(buyers, products)
    expected = 0.01 * sum(
        np.square(tower.embeddings.numpy()[ids]).sum(axis=1).mean()
        for tower, ids in ((model.query_tower, buyers.numpy()), (model.candidate_tower, products.numpy()))
    )
    assert float(penalty) == pytest.approx(expected, rel=1e-5)
    assert float(loss) == float(plain.compute_losses(buyers, products)[0])
    logs = model.train_on_batch(buyers, products, return_dict=True)
    assert logs["total_loss"] == pytest.approx(logs["loss"] + logs["regularization_loss"], rel=1e-5)


def test_model_names_its_towers_in_the_paths() -> None:
    """The default tower patterns find the weights."""
    assert [weight.path for weight in make_model().trainable_weights] == [
        "two_tower/query_tower/embeddings",
        "two_tower/candidate_tower/embeddings",
    ]


@pytest.mark.filterwarnings("ignore:.*__array__.*copy:DeprecationWarning")
def test_model_survives_a_file(tmp_path: Path) -> None:
    """A saved model answers and scores the same, the logQ correction included."""
    model = make_model()
    model.correct_for(np.arange(1, 10))
    model.train_on_batch(*make_batch())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    buyers, products = make_batch()
    assert np.array_equal(loaded(buyers), model(buyers))
    assert float(loaded.compute_losses(buyers, products)[0]) == float(model.compute_losses(buyers, products)[0])


def test_correction_is_the_log_of_the_share() -> None:
    """A product bought in a quarter of the rows has log_q = log 1/4."""
    model = make_model()
    model.correct_for(np.array([25, 75] + [0] * 7) + np.array([0, 0] + [1] * 7))
    assert model.log_q.numpy()[0] == pytest.approx(np.log(25 / 107))


def test_batches_are_a_new_whole_permutation_in_each_epoch() -> None:
    """An epoch draws no row twice, epochs differ in order, and one seed always gives the same."""
    pairs = Pairs(np.arange(103, dtype=np.int32), np.arange(103, dtype=np.int32) + 1000)
    batches, steps = to_train_batches(pairs, batch_size=10, epochs=2, seed=3)
    buyers, products = (np.stack(list(column)) for column in zip(*batches.as_numpy_iterator(), strict=True))
    assert steps == 10
    assert buyers.shape == (20, 10)
    assert (products == buyers + 1000).all()
    first, second = buyers[:10].ravel(), buyers[10:].ravel()
    assert len(set(first)) == len(set(second)) == 100
    assert not np.array_equal(first, second)
    assert not np.array_equal(np.sort(first), first)
    again = np.stack([row for row, _ in to_train_batches(pairs, batch_size=10, epochs=2, seed=3)[0]])
    assert np.array_equal(again, buyers)


def test_test_batches_are_fixed_and_of_one_size() -> None:
    """Every pass sees the same batches; fewer pairs than a batch make one batch."""
    dataset = split_by_time(make_interactions(200), make_spec())
    batches = to_test_batches(dataset.test, batch_size=4, seed=3)
    passes = [[tuple(buyers.tolist()) for buyers, _ in batches.as_numpy_iterator()] for _ in range(2)]
    assert passes[0] == passes[1]
    assert {len(batch) for batch in passes[0]} == {4}
    assert [len(buyers) for buyers, _ in to_test_batches(dataset.test, batch_size=999, seed=3)] == [len(dataset.test)]
