"""Weight and gradient statistics against numpy on dense arrays, for our model and for others."""

import doctest
import gc
from datetime import UTC, datetime
from typing import Any

import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf

import trainer.statistics.collecting
from switchyard.core.errors import BadRequest
from switchyard.core.metrics.record import MetricsRecord, TowerStatistics
from switchyard.core.runs.spec import TrainSpec
from trainer.model.optimizers import make_optimizer
from trainer.model.towers import TwoTower
from trainer.output.epoch_record import EpochRecord
from trainer.statistics.bins import BIN_EDGES, count_bins, count_read_bins
from trainer.statistics.collecting import collect_all
from trainer.statistics.gradients import GradientStatistics, GradientSums
from trainer.statistics.weights import CHUNK_VALUES, SAMPLE_VALUES, WeightReader, WeightStatistics

BATCHES = 7


def make_model(optimizer: Any = None, *, buyers: int = 12, products: int = 9, l2: float = 0.1) -> Any:
    keras.utils.set_random_seed(4)
    model = TwoTower(buyers=buyers, products=products, dim=4, temperature=0.1, l2=l2)
    model.compile(optimizer=optimizer or make_optimizer(TrainSpec()), jit_compile=False)
    return model


def make_batches(*, buyers: int = 12, products: int = 9) -> tf.data.Dataset:
    """Batches of 6 with repeated ids; some rows of both tables are never touched."""
    rng = np.random.default_rng(2)
    columns = (rng.integers(0, high - 2, (BATCHES, 6)).astype(np.int32) for high in (buyers, products))
    return tf.data.Dataset.from_tensor_slices(tuple(columns))


def fit(model: Any, data: Any, callbacks: list[Any], epochs: int = 1) -> None:
    model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)


def to_metrics(record: EpochRecord) -> MetricsRecord:
    return record.to_record("completed", saved_at=datetime.now(UTC), run=None, params={})


def count_in_numpy(values: Any) -> list[int]:
    """The 25 counts, by numpy, what lies beyond the outer edges in the outer bins."""
    inside = np.clip(np.ravel(values).astype(np.float64), BIN_EDGES[0], np.nextafter(BIN_EDGES[-1], 0))
    return [int(count) for count in np.histogram(inside, BIN_EDGES)[0]]


class DenseGradients(keras.callbacks.Callback):
    """What each step's dense gradients are, kept whole: the way that statistics must not go."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[Any]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        apply = self.model.optimizer.apply

        def keep(grads: Any, variables: Any) -> Any:
            dense = [tf.convert_to_tensor(gradient) for gradient in grads]
            touched = [
                tf.unique(g.indices)[0] if isinstance(g, tf.IndexedSlices) else tf.range(tf.shape(g)[0]) for g in grads
            ]
            tf.py_function(lambda *found: self.steps.append([np.array(x) for x in found]), [*dense, *touched], [])
            return apply(grads, variables)

        self.model.optimizer.apply = keep
        self.model.make_train_function(force=True)


def make_dense(seen: DenseGradients, tower: int, towers: int = 2) -> tuple[list[Any], list[Any]]:
    """Of one tower: each step's whole dense gradient, and its touched rows' values."""
    whole = [step[tower] for step in seen.steps]
    return whole, [step[tower][step[towers + tower]] for step in seen.steps]


def test_bins_are_half_decades_and_hold_their_lower_edge() -> None:
    """25 bins around zero; the counts are numpy's, outliers clamped, nan and infinities in no bin."""
    assert len(BIN_EDGES) == 26
    assert BIN_EDGES[0] == -1
    assert BIN_EDGES[-1] == 1
    assert BIN_EDGES[12] == -1e-6
    assert np.allclose(np.diff(np.log10(BIN_EDGES[13:])), 0.5)
    values = np.concatenate([np.random.default_rng(1).normal(size=5000) * 10.0 ** np.arange(-7, 3, 0.002), [0, 5, -5]])
    values = values.astype(np.float32)
    odd = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert count_bins(tf.constant(np.concatenate([values, odd]))).numpy().tolist() == count_in_numpy(values)
    assert count_read_bins(np.concatenate([values, odd])).tolist() == count_in_numpy(values)
    assert count_bins(tf.constant([1e-6, 0.0, -2.0])).numpy().nonzero()[0].tolist() == [0, 12, 13]


@pytest.mark.parametrize("shape", [(), (7,), (70_000, 5), (3, 4, 5), (1, CHUNK_VALUES + 3)])
def test_weight_moments_are_exact(shape: tuple[int, ...]) -> None:
    """Moments over all values, in pieces, equal numpy's in float64, also where the mean is large against the spread."""
    values = (100 + np.random.default_rng(1).normal(size=shape)).astype(np.float32)
    moments, exact = WeightReader([keras.Variable(values)]).read_moments(), values.astype(np.float64)
    assert moments.mean == pytest.approx(exact.mean(), rel=1e-6)
    assert moments.std == pytest.approx(exact.std(), rel=1e-4, abs=1e-6)
    assert moments.norm == pytest.approx(np.linalg.norm(exact.ravel()), rel=1e-6)
    assert (moments.lowest, moments.highest) == (exact.min(), exact.max())


def test_weight_histogram_is_exact_where_small_and_a_marked_sample_where_large() -> None:
    """Up to SAMPLE_VALUES values all are counted; beyond, the same evenly spread rows every time, and it says so."""
    rng = np.random.default_rng(1)
    small = rng.normal(size=(100, 7)).astype(np.float32)
    counts, sampled = WeightReader([keras.Variable(small)]).read_histogram()
    assert counts == count_in_numpy(small)
    assert not sampled
    large = keras.Variable(rng.normal(size=(SAMPLE_VALUES, 3)).astype(np.float32))
    counts, sampled = WeightReader([large]).read_histogram()
    assert counts == count_in_numpy(large.numpy()[::3])
    assert counts == WeightReader([large]).read_histogram()[0]
    assert sampled


def test_weight_statistics_and_norms_reach_the_record() -> None:
    """After an epoch the record has the towers' norms, their total, and their moments as numpy sees the weights."""
    record, model = EpochRecord(), make_model()
    fit(model, make_batches(), collect_all(record))
    metrics = to_metrics(record)
    tables = {"query": model.query_tower.embeddings.numpy(), "candidate": model.candidate_tower.embeddings.numpy()}
    for tower, table in tables.items():
        found = metrics.weight_stats[tower]
        expected = {"mean": table.mean(), "std": table.std(), "min": table.min(), "max": table.max()}
        assert {name: found.series[name][0] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert found.series["norm"] == metrics.gradient[tower] == [pytest.approx(np.linalg.norm(table), rel=1e-5)]
        assert found.histogram is not None
        assert found.histogram.counts == [count_in_numpy(table)]
        assert found.histogram.bin_edges == list(BIN_EDGES)
        assert found.histogram.edges_known == "all"
    total = np.linalg.norm(np.concatenate([table.ravel() for table in tables.values()]))
    assert metrics.gradient["total"] == [pytest.approx(total, rel=1e-5)]


@pytest.mark.parametrize("optimizer", ["ours", "keras"])
@pytest.mark.parametrize("every_steps", [1, 3])
def test_gradient_statistics_are_those_of_the_dense_gradients(optimizer: str, every_steps: int) -> None:
    """Moments, counts and fractions are numpy's over the touched rows of the sampled steps; norms over all steps."""
    record, seen = EpochRecord(), DenseGradients()
    model = make_model(keras.optimizers.Adagrad(0.1) if optimizer == "keras" else None)
    fit(model, make_batches(), [seen, GradientStatistics(record, every_steps=every_steps)])
    metrics = to_metrics(record)
    for position, tower in enumerate(("query", "candidate")):
        whole, touched = make_dense(seen, position)
        values = np.concatenate([part.ravel() for part in touched[::every_steps]]).astype(np.float64)
        everything = np.concatenate([part.ravel() for part in whole[::every_steps]]).astype(np.float64)
        found = metrics.gradient_stats[tower]
        expected = {
            "mean": values.mean(),
            "std": values.std(),
            "min": values.min(),
            "max": values.max(),
            "norm": np.mean([np.linalg.norm(step) for step in whole]),
            "touched_fraction": len(values) / len(everything),
            "std_with_zeros": everything.std(),
            "clipped": sum((np.abs(step) > 1).sum() for step in whole),
            "non_finite": 0,
            "steps": BATCHES,
            "sampled_steps": len(touched[::every_steps]),
        }
        assert {name: series[0] for name, series in found.series.items()} == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert expected["clipped"] > 0
        assert 0 < expected["touched_fraction"] < 1
        assert found.histogram is not None
        assert found.histogram.counts == [count_in_numpy(values)]
        assert found.other == {"sampled": every_steps > 1, "every_steps": every_steps}
        assert found.histogram.sampled == (every_steps > 1)


def test_gradient_statistics_count_what_is_no_number() -> None:
    """A nan gradient is counted in every step, sampled or not, and the record says nan where a number stood."""
    record, model = EpochRecord(), make_model()

    class Poison(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == BATCHES - 2:  # the last step, which every_steps=3 samples
                model.query_tower.embeddings.assign(np.full((12, 4), np.nan))

    fit(model, make_batches(), [GradientStatistics(record, every_steps=3), Poison()])
    metrics = to_metrics(record)
    non_finite = metrics.gradient_stats["query"].series["non_finite"][0]
    assert non_finite is not None
    assert non_finite > 0
    assert metrics.gradient_stats["query"].series["mean"] == [None]
    assert metrics.non_finite["gradient_stats.query"]["mean"] == {"0": "nan"}


@pytest.mark.parametrize(
    ("values", "clipped", "non_finite"),
    [
        ([0.1, 0.2], 0, 0),
        ([0.9, -0.9, 0.9, 1.0], 0, 0),  # the squares' sum is above 1, and no value is
        ([0.9, -1.5, 0.0, 7.0], 2, 0),
        ([0.9, np.nan, 0.3, 0.9], 0, 1),
        ([np.nan, 3.0, np.inf, -np.inf], 1, 3),
        ([3e38, -3e38], 2, 0),  # the squares' sum is none of a float32
    ],
)
@pytest.mark.parametrize("is_sampled", [True, False])
def test_what_is_clipped_or_no_number_is_counted_exactly(
    values: list[float], clipped: int, non_finite: int, is_sampled: bool
) -> None:
    """In a tower of several gradients, whichever of them it is in, and not in the other tower."""
    sums = GradientSums(2, 20)
    small, other = tf.constant([[0.1, 0.1]]), tf.constant(values, tf.float32)
    for _ in range(2):
        sums.add([[small, other], [small]], is_sampled)
    found, (untouched, _) = sums.read()
    assert (found[0]["clipped"], found[0]["non_finite"]) == (2 * clipped, 2 * non_finite)
    assert (untouched["clipped"], untouched["non_finite"], untouched["steps"]) == (0, 0, 2)


def test_weights_that_are_no_numbers_have_moments_that_are_none() -> None:
    """Without a warning, in every chunk and shape; what is finite is still in the histogram."""
    values = np.ones(2 * CHUNK_VALUES, np.float32)
    values[CHUNK_VALUES + 2] = np.nan
    values[6] = np.inf
    reader = WeightReader([keras.Variable(values), keras.Variable(np.float32(-np.inf))])
    moments, counts, _ = reader.read()
    assert np.isnan([moments.mean, moments.std, moments.norm, moments.lowest, moments.highest]).all()
    assert sum(counts) == len(values[::3]) - 2


def test_statistics_read_the_weights_where_they_lie() -> None:
    """No table is copied to be read, and none goes on as a copy because it was read."""
    model = make_model()
    tables = [tower.embeddings.value for tower in (model.query_tower, model.candidate_tower)]

    def find() -> list[int]:
        return [np.asarray(table.read_value_no_copy()).ctypes.data for table in tables]

    fit(model, make_batches(), [], epochs=1)
    before, values = find(), model.query_tower.embeddings.numpy()
    fit(model, make_batches(), collect_all(EpochRecord()), epochs=3)
    assert find() == before
    assert not np.array_equal(values, model.query_tower.embeddings.numpy())


def test_statistics_change_no_number_of_the_training() -> None:
    """With statistics or without, the weights are the same to the bit, for our optimizers and Keras' own."""
    for make in (None, keras.optimizers.Adagrad):
        plain, watched = (make_model(make(0.1) if make else None) for _ in range(2))
        fit(plain, make_batches(), [], epochs=2)
        fit(watched, make_batches(), collect_all(EpochRecord()), epochs=2)
        for one, other in zip(plain.get_weights(), watched.get_weights(), strict=True):
            assert np.array_equal(one, other)


def test_statistics_leave_the_optimizer_as_it_was() -> None:
    """A later fit without them runs without them, and one with them starts from zero."""
    model, record = make_model(), EpochRecord()
    fit(model, make_batches(), collect_all(record), epochs=2)
    assert "apply" not in vars(model.optimizer)
    fit(model, make_batches(), [])
    again = EpochRecord()
    fit(model, make_batches(), collect_all(again))
    steps = [to_metrics(found).gradient_stats["query"].series["steps"] for found in (record, again)]
    assert steps == [[BATCHES, BATCHES], [BATCHES]]


def make_other_model() -> Any:
    """Dense towers under names of their own, with a regulariser and XLA."""
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    sides = [
        keras.layers.Dense(4, name="first_side", kernel_regularizer=keras.regularizers.L2(0.1))(left),
        keras.layers.Dense(4, name="second_side")(right),
    ]
    model = keras.Model([left, right], keras.layers.Dense(1, name="head")(keras.layers.Multiply()(sides)))
    model.compile(optimizer="adam", loss="mse", metrics=["mae"], jit_compile=True)
    return model


def test_another_model_is_served_in_two_lines() -> None:
    """The record of any Keras model: its logs, its norms and statistics by patterns of its own, its penalty apart."""
    keras.utils.set_random_seed(1)
    model, rng = make_other_model(), np.random.default_rng(1)
    inputs, answers = [rng.normal(size=(64, 3)), rng.normal(size=(64, 2))], rng.normal(size=64)

    record = EpochRecord()
    callbacks = collect_all(record, towers={"query": "first_side", "candidate": "second_side"})
    model.fit(inputs, answers, epochs=3, batch_size=16, validation_split=0.25, verbose=0, callbacks=callbacks)

    metrics = to_metrics(record)
    assert metrics.epochs == [0, 1, 2]
    assert set(metrics.metrics) == {"mae", "val_mae", "learning_rate", "epoch_seconds"}
    kernel = model.get_layer("first_side").kernel.numpy()
    assert metrics.loss["val_regularization_loss"][-1] == pytest.approx(0.1 * np.square(kernel).sum(), rel=1e-5)
    for name in ("", "val_"):
        kinds = ("total_loss", "regularization_loss", "loss")
        total, penalty, loss = (np.array(metrics.loss[f"{name}{kind}"], float) for kind in kinds)
        assert total == pytest.approx(penalty + loss)
    assert metrics.gradient_stats["query"].series["touched_fraction"] == [1, 1, 1]
    norms = {tower: np.array(metrics.gradient[tower], float) for tower in ("query", "candidate", "total")}
    assert (norms["total"] ** 2 > norms["query"] ** 2 + norms["candidate"] ** 2).all()  # the head is in the total


def test_the_example_runs() -> None:
    """What the docstring shows is so."""
    assert doctest.testmod(trainer.statistics.collecting).failed == 0
    assert doctest.testmod(trainer.statistics.collecting).attempted > 5


@pytest.mark.parametrize("callback", [WeightStatistics, GradientStatistics])
@pytest.mark.parametrize(
    ("towers", "message"),
    [
        ({"query": "query", "candidate": "kernel"}, "'kernel' of the candidate tower matches no trainable weight"),
        ({"query": "tower", "candidate": "candidate"}, "candidate_tower/embeddings matches .* query and candidate"),
    ],
)
def test_a_tower_without_weights_is_an_error(callback: Any, towers: dict[str, str], message: str) -> None:
    """A pattern that finds nothing, or a weight in two towers, ends `fit` before the first step, listing the paths."""
    with pytest.raises(BadRequest, match=message) as caught:
        fit(make_model(), make_batches(), [callback(EpochRecord(), towers)])
    assert "two_tower/query_tower/embeddings, two_tower/candidate_tower/embeddings" in str(caught.value)


def test_memory_does_not_grow_with_steps() -> None:
    """The sums have a fixed size: a thousand steps after warm-up leave the process no larger by more than noise.

    Keeping each step's gradients (20,000 x 4 floats) would take over 300 MB.
    """
    model, record = make_model(buyers=20_000, products=1_000), EpochRecord()
    batches = make_batches(buyers=20_000, products=1_000).repeat()
    resident = []

    class Watch(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            gc.collect()
            resident.append(psutil.Process().memory_info().rss)

    callbacks = [*collect_all(record), Watch()]
    model.fit(batches, epochs=4, steps_per_epoch=350, verbose=0, shuffle=False, callbacks=callbacks)
    assert resident[-1] - resident[0] < 30e6


def test_statistics_are_typed_as_the_record_wants() -> None:
    """What the callbacks add is plain floats and ints, which the record's writer takes."""
    record = EpochRecord()
    fit(make_model(), make_batches(), collect_all(record))
    for statistics in (*to_metrics(record).weight_stats.values(), *to_metrics(record).gradient_stats.values()):
        assert isinstance(statistics, TowerStatistics)
        assert {type(value) for series in statistics.series.values() for value in series} == {float}
