"""Many steps a call: the numbers, the sampled steps and the blame are those of one step a call."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.factories import make_spec
from tests.trainer.test_diverged import make_run
from tests.trainer.test_statistics import make_model, to_metrics
from trainer.callbacks import Progress, StopAtBatchEnd, StopWhenNotFinite, takes_stacks
from trainer.data.batches import to_train_batches, to_train_stacks
from trainer.data.preparing import prepare
from trainer.data.splitting import Pairs
from trainer.model.calls import STEPS_A_CALL, Pace, choose_pace, run_steps
from trainer.output.epoch_record import EpochRecord
from trainer.output.journal import Journal
from trainer.output.run_folder import RunFolder
from trainer.statistics.collecting import collect_statistics
from trainer.stopping import FiniteWatch, NotFinite, Stopped, StopWish
from trainer.training import Training

BATCH = 6
EPOCHS = 2


def make_pairs(steps: int) -> Pairs:
    """Rows for that number of steps an epoch, and some that fill no batch."""
    rng = np.random.default_rng(1)
    rows = steps * BATCH + 3
    return Pairs(rng.integers(0, 12, rows).astype(np.int32), rng.integers(0, 9, rows).astype(np.int32))


def fit(steps: int, call_steps: int, callbacks: list[Any], model: Any = None) -> tuple[Any, dict[str, list[float]]]:
    """A model after EPOCHS epochs of that number of steps, and what Keras logged of them."""
    model = model or make_model()
    wanted: dict[str, Any] = {"batch_size": BATCH, "epochs": EPOCHS, "seed": 3}
    model.pace = Pace(steps, call_steps)
    if call_steps == 1:
        batches, calls = to_train_batches(make_pairs(steps), **wanted)
    else:
        batches, calls = to_train_stacks(make_pairs(steps), **wanted, steps_a_call=call_steps)
    assert calls == model.pace.calls
    fit_result = model.fit(batches, epochs=EPOCHS, steps_per_epoch=calls, shuffle=False, verbose=0, callbacks=callbacks)
    return model, fit_result.history


@pytest.mark.parametrize("steps", [1, 19, 20, 21, 45])
def test_stacks_hold_the_batches_in_order_and_none_of_two_epochs(steps: int) -> None:
    """All stacks but an epoch's last are full, and put together they are the batches of one step a call."""
    pairs = make_pairs(steps)
    wanted: dict[str, Any] = {"batch_size": BATCH, "epochs": 3, "seed": 3, "first_epoch": 1}
    batches, _ = to_train_batches(pairs, **wanted)
    stacks, calls = to_train_stacks(pairs, **wanted, steps_a_call=STEPS_A_CALL)
    found = list(stacks.as_numpy_iterator())
    lengths = [min(STEPS_A_CALL, steps - first) for first in range(0, steps, STEPS_A_CALL)]
    assert calls == len(lengths)
    assert [len(buyers) for buyers, _ in found] == lengths * 2
    for column in (0, 1):
        expected = np.stack([batch[column] for batch in batches.as_numpy_iterator()])
        assert np.array_equal(np.concatenate([stack[column] for stack in found]), expected)


@pytest.mark.parametrize("steps", [1, 3])
def test_steps_run_in_order_and_are_traced_twice(steps: int) -> None:
    """Each step sees what the one before it left; only a call's first is told that it is."""
    total = tf.Variable(1.0)
    told: list[bool] = []

    def step(number: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": total.assign(total * 2.0 + number)}

    answers = tf.function(lambda stack: run_steps(step, [stack], tell_first=told.append))(tf.range(1.0, steps + 1))
    assert answers["total"].numpy().tolist() == [3.0, 8.0, 19.0][:steps]
    assert told == [True, False]


@pytest.mark.parametrize("steps", [1, 19, 20, 21])
def test_a_training_on_stacks_ends_in_the_same_numbers(steps: int) -> None:
    """Weights, losses and gradient statistics are equal to the bit, of the same sampled steps.

    No epoch has a step more or less.
    """
    found = []
    for call_steps in (1, STEPS_A_CALL):
        record = EpochRecord()
        model, history = fit(steps, call_steps, collect_statistics(record))
        metrics = to_metrics(record)
        found.append((model.get_weights(), history, metrics.gradient_stats, metrics.weight_stats))
        assert int(model.optimizer.iterations) == EPOCHS * steps
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert np.array_equal(one, other)
    assert found[0][1:] == found[1][1:]
    assert found[1][2]["query"].series["sampled_steps"] == [-(-steps // STEPS_A_CALL)] * EPOCHS


def test_an_epochs_short_last_call_is_not_traced_again() -> None:
    """A step is traced as a call's first and as a later one, whatever the lengths of calls."""
    model = make_model()
    model.optimizer.build(model.trainable_variables)  # TensorFlow traces all again where a trace made variables
    traced: list[bool | None] = []
    update = model._update

    def counted(*columns: tf.Tensor) -> Any:
        traced.append(model.is_first_of_call)
        return update(*columns)

    model._update = counted
    fit(45, STEPS_A_CALL, [], model)
    assert traced == [True, False]
    assert model.is_first_of_call is None


def spoil(model: Any, at: int) -> Any:
    """Makes the model's products nan after step `at`, from 0, within the graph."""
    update, table = model._update, model.candidate_tower.embeddings

    def spoiled(*columns: tf.Tensor) -> Any:
        logs = update(*columns)
        is_due = tf.equal(tf.cast(model.optimizer.iterations.value, tf.int32), at + 1)
        table.assign(tf.where(is_due, np.float32(np.nan), table.value))
        return logs

    model._update = spoiled
    return model


@pytest.mark.parametrize("at", [0, 18, 19, 20, 43, 44, 50])
def test_the_step_to_blame_is_named_whatever_call_it_is_in(at: int) -> None:
    """The step after the one that made weights nan, or the epoch's last where no later step of it saw them."""
    began = []
    for call_steps in (1, STEPS_A_CALL):
        watch = FiniteWatch()
        fit(45, call_steps, [StopWhenNotFinite(watch)], spoil(make_model(), at))
        began.append(watch.began)
    what = "two_tower/candidate_tower/embeddings was not finite" if at == 44 else "loss was nan"
    assert began == [NotFinite(at // 45, min(at + 1, at // 45 * 45 + 44), what)] * 2


def test_a_wish_to_stop_is_heard_at_the_calls_end() -> None:
    """`fit` is left after the call in which SIGTERM came."""
    wish, model = StopWish(), make_model()

    class Wishes(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
        takes_stacks = True

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            wish.made = batch == 1

    with pytest.raises(Stopped):
        fit(45, STEPS_A_CALL, [StopAtBatchEnd(wish), Wishes()], model)
    assert int(model.optimizer.iterations) == 2 * STEPS_A_CALL


def test_a_callback_that_looks_at_batches_must_say_that_it_takes_stacks() -> None:
    """Of one that does not, each step is a call of its own."""

    class Counts(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            raise NotImplementedError

    assert not takes_stacks(Counts())
    assert not takes_stacks(keras.callbacks.LambdaCallback(on_train_batch_begin=print))
    assert takes_stacks(Progress())


@pytest.mark.parametrize(("others", "call_steps"), [(0, STEPS_A_CALL), (1, 1)])
def test_a_training_takes_many_steps_a_call_where_all_callbacks_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int, call_steps: int
) -> None:
    """All of the trainer's own do; with one of another's that looks at batches it is told of each step."""
    spec = make_spec()
    journal = Journal(RunFolder(make_run(tmp_path), seed=spec.seed), spec)
    dataset = prepare(spec, journal)
    batches: list[int] = []
    other = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))
    listed = Training._list_callbacks
    monkeypatch.setattr(Training, "_list_callbacks", lambda self, dataset: [*listed(self, dataset), *[other] * others])
    fitted: list[Any] = []
    monkeypatch.setattr(Training, "_export", lambda self, model, dataset: fitted.append(model))
    Training(spec, journal, StopWish(), store=None, pause_s=0).run(dataset)
    steps = len(dataset.train) // spec.batch_size
    assert fitted[0].pace == Pace(steps, call_steps)
    assert int(fitted[0].optimizer.iterations) == spec.epochs * steps
    assert batches == list(range(steps)) * spec.epochs * others


def test_large_steps_take_a_call_each() -> None:
    """A call cannot be interrupted: twenty steps of 65,536 rows would outlast the wait for a SIGTERM's answer."""
    assert choose_pace(rows=10**6, batch_size=512, dim=64).call_steps == STEPS_A_CALL
    assert choose_pace(rows=10**6, batch_size=1_024, dim=128).call_steps == STEPS_A_CALL
    assert choose_pace(rows=10**6, batch_size=65_536, dim=64).call_steps == 1
