"""What is decided of trials: tables of values."""

from collections.abc import Sequence
from typing import Any

import pytest

from switchyard.core.history.full_series import to_full_series
from switchyard.core.runs.rows import RunStatus
from switchyard.core.sweeps.trials import (
    Curve,
    Next,
    Trial,
    TrialEnd,
    TrialState,
    choose_best,
    choose_next,
    judge,
    rank,
    read_curve,
)
from tests.core.metrics.factories import make_record

OPEN, COMPLETED, PRUNED, FAILED = TrialState
METRIC = "val_recall_at_10"


def make_trials(states: Sequence[TrialState], values: Sequence[float | None] = ()) -> list[Trial]:
    given = [*values, *[None] * len(states)]
    return [Trial(number=at, params={}, state=state, value=given[at]) for at, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "going", "wanted", "at_once", "found"),
    [
        ([], (), 5, 2, Next(ask=2)),  # it begins
        ([OPEN, OPEN], (0, 1), 5, 2, Next()),  # all that may be are at work
        ([COMPLETED, OPEN], (1,), 5, 2, Next(ask=1)),  # one has ended
        ([OPEN, OPEN], (), 5, 2, Next(start=(0, 1))),  # killed after both were asked for
        ([OPEN, COMPLETED, OPEN], (2,), 5, 2, Next(start=(0,))),  # killed between the asking and the start
        ([OPEN, OPEN, OPEN], (0,), 5, 1, Next()),  # it goes on with fewer at once than it began with
        ([OPEN, OPEN, OPEN], (), 5, 2, Next(start=(0, 1))),
        ([COMPLETED, FAILED, PRUNED], (), 5, 4, Next(ask=2)),  # whatever became of them, they were had
        ([COMPLETED] * 4 + [OPEN], (4,), 5, 2, Next()),  # the last one
        ([COMPLETED] * 5, (), 5, 2, Next(is_done=True)),
        ([COMPLETED] * 5, (), 8, 2, Next(ask=2)),  # more are wanted than before
        ([COMPLETED, OPEN], (), 1, 1, Next(start=(1,))),  # fewer are wanted: what is open still ends
        ([COMPLETED, COMPLETED], (), 1, 1, Next(is_done=True)),
    ],
)
def test_open_trials_come_before_new_ones_and_never_too_many(
    states: list[TrialState], going: tuple[int, ...], wanted: int, at_once: int, found: Next
) -> None:
    """From what is stored alone, so that it is the same after a kill."""
    assert choose_next(make_trials(states), going=going, wanted=wanted, at_once=at_once) == found


CURVE = Curve(values={0: 0.1, 1: 0.3, 2: 0.2})
ODD = Curve(values={0: 0.9}, odd="val_loss is nan at epoch 1")


@pytest.mark.parametrize(
    ("status", "curve", "pruned_at", "end"),
    [
        (RunStatus.COMPLETED, CURVE, None, TrialEnd(state=COMPLETED, value=0.3)),
        (RunStatus.COMPLETED, CURVE, 1, TrialEnd(state=COMPLETED, value=0.3)),  # it ended before it was cancelled
        (RunStatus.COMPLETED, ODD, None, TrialEnd(state=FAILED, said=ODD.odd)),
        (RunStatus.COMPLETED, Curve(), None, TrialEnd(state=FAILED, said=f"its history has no finite {METRIC}")),
        (RunStatus.CANCELLED, CURVE, 1, TrialEnd(state=PRUNED, said="pruned at epoch 1")),
        (RunStatus.CANCELLED, ODD, 1, TrialEnd(state=FAILED, said=ODD.odd)),
        (RunStatus.CANCELLED, CURVE, None, TrialEnd(state=FAILED, said="its run was cancelled")),
        (RunStatus.FAILED, CURVE, None, TrialEnd(state=FAILED, said="the disk is full")),
        (RunStatus.FAILED, CURVE, 1, TrialEnd(state=FAILED, said="the disk is full")),
        (RunStatus.RUNNING, CURVE, None, None),
        (RunStatus.SUBMITTED, CURVE, 1, None),
        (RunStatus.PENDING, Curve(), None, None),
    ],
)
def test_a_trial_ends_as_its_run_did(
    status: RunStatus, curve: Curve, pruned_at: int | None, end: TrialEnd | None
) -> None:
    """One that was not finite anywhere has failed, however good it was before."""
    error = "the disk is full"
    found = judge(status, error=error, curve=curve, metric=METRIC, direction="max", pruned_at=pruned_at)
    assert found == end


def test_the_best_of_a_falling_metric_is_the_lowest() -> None:
    end = judge(RunStatus.COMPLETED, error="", curve=CURVE, metric="val_loss", direction="min", pruned_at=None)
    assert end == TrialEnd(state=COMPLETED, value=0.1)


def test_only_completed_trials_are_ranked_and_the_first_of_equals_leads() -> None:
    trials = make_trials([COMPLETED, PRUNED, COMPLETED, FAILED, OPEN, COMPLETED], [0.2, 0.9, 0.5, None, None, 0.5])
    assert [trial.number for trial in rank(trials, "max")] == [2, 5, 0]
    assert [trial.number for trial in rank(trials, "min")] == [0, 2, 5]
    assert choose_best(make_trials([FAILED, PRUNED, OPEN]), "max") is None


def read(**fields: Any) -> Curve:
    return read_curve(to_full_series(make_record(3, **fields)).gzip_json, METRIC)


def test_a_curve_is_read_from_the_full_series() -> None:
    """Every epoch, also where the published history keeps every fifth."""
    assert read(metrics={METRIC: [0.1, None, 0.3]}) == Curve(values={0: 0.1, 2: 0.3})
    assert read(metrics={METRIC: [0.1, 0.2, 0.3]}, epochs=[5, 6, 9]).values == {5: 0.1, 6: 0.2, 9: 0.3}
    assert read() == Curve()


@pytest.mark.parametrize(
    ("fields", "odd"),
    [
        (
            {"non_finite": {"loss": {"loss": {"1": "nan", "2": "nan"}}}, "loss": {"loss": [1.0, None, None]}},
            "loss is nan at epoch 1",
        ),
        (
            {"non_finite": {"metrics": {METRIC: {"2": "inf"}}}, "metrics": {METRIC: [0.1, 0.2, None]}},
            f"{METRIC} is inf at epoch 2",
        ),
        ({"non_finite": {"metrics": {"other": {"2": "inf"}}}, "metrics": {"other": [0.1, 0.2, None]}}, ""),
    ],
)
def test_what_is_not_finite_in_a_loss_or_in_the_metric_is_told(fields: dict[str, Any], odd: str) -> None:
    """The first of it; another series decides nothing."""
    assert read(**fields).odd == odd
