"""The trials of a sweep, and what is decided of them: which start next, how each ended, which is best.

The callers act; nothing here reaches outside.
"""

import gzip
from collections.abc import Container, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from switchyard.core.history.best import Direction
from switchyard.core.metrics.record import LOSS_SERIES
from switchyard.core.runs.rows import RunStatus
from switchyard.core.sweeps.space import Params

SAID: Final = 500
"""Characters that are kept of why a trial failed; its run has all."""


class TrialState(StrEnum):
    """How a trial stands."""

    OPEN = "open"  # its parameters are chosen; its run may be at work, or not be there yet
    COMPLETED = "completed"
    PRUNED = "pruned"
    FAILED = "failed"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the search; its run trains with `params`."""

    number: int  # from 0
    params: Params
    state: TrialState = TrialState.OPEN
    quick_test_id: int = 0  # of its run; 0: not known yet
    value: float | None = None  # the best of its metric, finite; of a completed trial alone
    pruned_at: int | None = None  # the epoch at which it was decided to prune it
    said: str = ""  # why it failed or was pruned


class TrialEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a trial ended."""

    state: TrialState
    value: float | None = None
    said: str = ""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has trained so far: the metric's finite values by epoch, ascending; and what was not finite."""

    values: dict[int, float] = {}
    odd: str = ""  # such as "val_loss is nan at epoch 3"; empty: nothing


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep does now. If it is none of the three, it waits for those at work."""

    start: tuple[int, ...] = ()  # trials that were asked for, and of which this process has no run yet
    ask: int = 0  # how many new trials
    is_done: bool = False


def choose_next(trials: Sequence[Trial], *, going: Container[int], wanted: int, at_once: int) -> Next:
    """Chooses what to do next, from what is stored and what this process has `going`.

    An earlier process may have been killed anywhere.
    """
    open_ = [trial.number for trial in trials if trial.state is TrialState.OPEN]
    at_work = sum(number in going for number in open_)
    waiting = [number for number in open_ if number not in going]
    start = tuple(waiting[: max(0, at_once - at_work)])
    if waiting:
        return Next(start=start)
    ask = max(0, min(wanted - len(trials), at_once - len(open_)))
    return Next(ask=ask, is_done=not open_ and not ask)


def judge(
    status: RunStatus, *, error: str, curve: Curve, metric: str, direction: Direction, pruned_at: int | None
) -> TrialEnd | None:
    """Returns how the trial of a run in `status` ended; None: it has not.

    A run that completed before it could be cancelled counts, also if it was to be pruned. One with a number that is
    not finite, in a loss or in the metric, has failed, whatever its other epochs reached.
    """
    match status:
        case RunStatus.COMPLETED if curve.odd:
            return TrialEnd(state=TrialState.FAILED, said=curve.odd)
        case RunStatus.COMPLETED if not curve.values:
            return TrialEnd(state=TrialState.FAILED, said=f"its history has no finite {metric}")
        case RunStatus.COMPLETED:
            best = max if direction == "max" else min
            return TrialEnd(state=TrialState.COMPLETED, value=best(curve.values.values()))
        case RunStatus.CANCELLED if pruned_at is not None and curve.odd:
            return TrialEnd(state=TrialState.FAILED, said=curve.odd)
        case RunStatus.CANCELLED if pruned_at is not None:
            return TrialEnd(state=TrialState.PRUNED, said=f"pruned at epoch {pruned_at}")
        case RunStatus.CANCELLED:
            return TrialEnd(state=TrialState.FAILED, said="its run was cancelled")
        case RunStatus.FAILED:
            return TrialEnd(state=TrialState.FAILED, said=(error or "its run failed")[:SAID])
        case _:
            return None


def choose_best(trials: Sequence[Trial], direction: Direction) -> Trial | None:
    """Returns the completed trial with the best value, the first of equals; None: none has completed."""
    ranked = rank(trials, direction)
    return ranked[0] if ranked else None


def rank(trials: Sequence[Trial], direction: Direction) -> list[Trial]:
    """Returns the completed trials, the best first; of equals the first number first."""
    sign = -1 if direction == "max" else 1
    found = [(sign * trial.value, trial.number, trial) for trial in trials if trial.value is not None]
    return [trial for *_, trial in sorted(found, key=lambda one: one[:2]) if trial.state is TrialState.COMPLETED]


def to_pruned_reason(pruned_at: int, metric: str) -> str:
    """Returns why the run's job was cancelled, for its row."""
    return f"pruned at epoch {pruned_at}: its best {metric} was worse than the median of the completed trials"


def to_request_key(sweep_id: str, number: int) -> str:
    """Returns the key by which the trial's run is found again."""
    return f"sweep {sweep_id} trial {number}"


def read_curve(gzip_json: bytes, metric: str) -> Curve:
    """Returns the curve in a run's full series, as they are stored."""
    content = msgspec.json.decode(gzip.decompress(gzip_json))
    epochs: list[Any] = content.get("epochs") or []
    series, non_finite = content.get("series") or {}, content.get("non_finite") or {}
    found: list[tuple[int, str, str]] = []
    for name in (metric, *LOSS_SERIES):
        steps = (series.get(name) or {}).get("steps") or epochs
        found += [(int(steps[int(at)]), name, kind) for at, kind in (non_finite.get(name) or {}).items()]
    odd = ""
    if found:
        epoch, name, kind = min(found)
        odd = f"{name} is {kind} at epoch {epoch}"
    entry = series.get(metric) or {"values": [], "steps": []}
    points = zip(entry.get("steps", epochs), entry["values"], strict=True)
    return Curve(values={int(step): float(value) for step, value in points if value is not None}, odd=odd)
