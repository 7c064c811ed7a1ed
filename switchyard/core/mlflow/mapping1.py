"""Version 1 of the mapping: what a run's record was before every series was charted, and names and rules were known.

Histories that were published by it are compared and verified by it, so it must never change what it computes for a run.
`core.mlflow.mapping` is the newest version.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import lt
from typing import Final

import msgspec

from switchyard.core.errors import BadRecord, BadRequest
from switchyard.core.metrics.legacy_names import CHARTED_KEYS, FINAL_PREFIXES, Place, to_place
from switchyard.core.metrics.nonfinite import to_kind, to_series
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import (
    FileStatus,
    MetricsRecord,
    NonFiniteKind,
    OtherSeries,
    Series,
    TowerStatistics,
)
from switchyard.core.mlflow.histograms import BinColumn, to_histogram
from switchyard.core.mlflow.keys import CHARTED, SCALARS
from switchyard.core.mlflow.raw_run import Points, RawRun, TrackedRun
from switchyard.core.mlflow.tags import read_statistics_tag
from switchyard.core.runs.ownership import from_tags

FILE_STATUS: Final[Mapping[str, FileStatus]] = {
    "FINISHED": "completed",
    "FAILED": "failed",
    "KILLED": "failed",
    "RUNNING": "partial",  # perhaps for ever: MLflow never ends a run after its process died
    "SCHEDULED": "partial",
}

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES_SHOWN: Final = 3


def from_points(run: RawRun) -> MetricsRecord:
    """Returns the record of `run`.

    Of a run that was read with ``keys=CHARTED`` it is `charted_only`: equal to the whole run's in all that its
    published history of version 1 shows but the histograms, and in the `charted` digest. Of one that was read with
    ``keys=SCALARS`` the other keys are left aside.

    Raises:
        BadRequest: the run was read with another choice of keys, so that its record would claim too little.
        BadRecord: its status is none that we know.
    """
    if run.keys == SCALARS:
        charted = {key: points for key, points in run.metrics.items() if key in CHARTED}
        run = msgspec.structs.replace(run, metrics=charted, keys=CHARTED)
    if run.keys is not None and run.keys != CHARTED:
        raise BadRequest(
            f"a record of MLflow run {run.info.run_id} needs all of its metrics, or those of `CHARTED` or `SCALARS`; "
            "it was read with other keys"
        )
    if run.info.status not in FILE_STATUS:
        expected = ", ".join(FILE_STATUS)
        raise BadRecord(f"MLflow run {run.info.run_id}", [f"`status` must be one of {expected}; got {run.info.status}"])
    # In the order of their names, so that every way of reading gives the same bytes.
    metrics = {key: run.metrics[key] for key in sorted(run.metrics)}
    epoch_series = {key: points for key, points in metrics.items() if key in CHARTED_KEYS}
    mapping = _Mapping(run, _number_by_time(epoch_series, metrics))
    for key in metrics:
        mapping.add(key)
    return mapping.to_record()


class _Mapping:
    """One run's record while its keys are put in their places."""

    def __init__(self, run: RawRun, metrics: Mapping[str, Points]) -> None:
        self._run = run
        self._metrics = metrics
        self._epochs = _to_epochs(points.steps for key, points in metrics.items() if key in CHARTED_KEYS)
        self._bins: dict[tuple[str, str], dict[int, BinColumn]] = {}
        self._repeated: list[str] = []
        self._renumbered = any(metrics[key] is not points for key, points in run.metrics.items())
        final = [key for key in metrics if to_place(key).section == "final_metrics"]
        self._record = MetricsRecord(
            status=FILE_STATUS[run.info.status],
            saved_at=_to_saved_at(run.info, metrics.values()),
            available=bool(self._epochs or final),
            epochs=self._epochs,
            run=from_tags(run.tags),
            params={name: run.params[name] for name in sorted(run.params)},
            charted_only=run.keys is not None,
        )

    def add(self, key: str) -> None:
        """Puts the points of `key` where they belong."""
        place = to_place(key)
        points = self._metrics[key]
        if place.section == "final_metrics":
            self._add_final(key, points)
            return
        values, is_whole = _spread(points, self._epochs)
        if not is_whole and (place.section == "metrics" or not self._epochs):
            self._add_other(key, points)
            return
        if not is_whole:
            self._add_other(key, points)
        if is_whole and len(points.steps) > len(set(points.steps)):
            self._repeated.append(key)
        if place.bin is not None:
            self._bins.setdefault((place.section, place.tower), {})[place.bin] = BinColumn(key, values)
        else:
            self._put(place, values)

    def to_record(self) -> MetricsRecord:
        """Returns the record, once all keys were added."""
        record = self._record
        for (section, tower), columns in self._bins.items():
            histogram, kinds, odd = to_histogram(section, tower, columns, self._run, record.warnings)
            # A stored histogram of those days does not say whether its edges were logged.
            histogram = msgspec.structs.replace(histogram, edges_assumed=False)
            self._statistics(section, tower).histogram = histogram
            if kinds:
                record.non_finite.setdefault(to_path(section, tower), {})["histogram"] = kinds
            for key in odd:
                self._add_other(key, self._metrics[key])
        for section in ("weight_stats", "gradient_stats"):
            for tower, statistics in getattr(record, section).items():
                said = read_statistics_tag(self._run.tags, section, tower).other
                statistics.other = {name: item for name, item in said.items() if name not in statistics.series}
        if self._renumbered:
            record.warnings.append("`epochs` are the order of logging: all points were logged at step 0")
        if self._repeated:
            more = len(self._repeated) - _NAMES_SHOWN
            shown = ", ".join(self._repeated[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
            record.warnings.append(f"some steps were logged again, and the last value counts: {shown}")
        return record

    def _add_final(self, key: str, points: Points) -> None:
        value: float | None = points.values[-1]
        if value is not None and not math.isfinite(value):
            self._record.non_finite.setdefault("final_metrics", {})[key] = {"": to_kind(value)}
            value = None
        self._record.final_metrics[key] = value
        if self._record.charted_only or (len(points.steps) <= 2 and points.steps[0] == points.steps[-1]):
            return  # said once, or said again at once
        values, is_whole = _spread(points, self._epochs)
        if is_whole:
            self._put(Place("metrics", key), values)
        else:
            self._add_other(key, points)

    def _add_other(self, key: str, points: Points) -> None:
        if self._record.charted_only:
            return
        values, kinds = to_series(points.values)
        self._record.other_series[key] = OtherSeries(steps=list(points.steps), values=values)
        if kinds:
            found = {str(position): kind for position, kind in kinds.items()}
            self._record.non_finite.setdefault("other_series", {})[key] = found

    def _put(self, place: Place, values: Series) -> None:
        if place.tower:
            section, series = (
                to_path(place.section, place.tower),
                self._statistics(place.section, place.tower).series,
            )
        else:
            section, series = place.section, getattr(self._record, place.section)
        kinds: dict[int, NonFiniteKind] = {}
        if not _is_finite(values):
            values, kinds = to_series(values)
        series[place.name] = values
        if kinds:
            found = {str(self._epochs[position]): kind for position, kind in kinds.items()}
            self._record.non_finite.setdefault(section, {})[place.name] = found

    def _statistics(self, section: str, tower: str) -> TowerStatistics:
        towers: dict[str, TowerStatistics] = getattr(self._record, section)
        return towers.setdefault(tower, TowerStatistics())


def _is_finite(values: Series) -> bool:
    """Returns True if no value is NaN or infinite; also False if one is missing, to be looked at more closely."""
    try:
        return all(map(math.isfinite, values))  # type: ignore[arg-type]  # a None raises
    except TypeError:
        return False


def _to_epochs(charted: Iterable[Sequence[int]]) -> list[int]:
    """Returns the steps, from 0 on, at which any charted series has a point."""
    found: list[int] = []
    for steps in map(list, charted):
        if steps == found:  # nearly always: all series are logged together
            continue
        if not found and steps[0] >= 0 and all(map(lt, steps, steps[1:])):
            found = steps
        else:
            found = sorted({*found, *(step for step in steps if step >= 0)})
    return found


def _spread(points: Points, epochs: list[int]) -> tuple[Series, bool]:
    """Returns one value an epoch, and whether that is all there is to say of `points`.

    False if it has other steps too, or so much at one step that the points are a series of their own, logged without
    steps.
    """
    steps = list(points.steps)
    if steps == epochs:
        return list(points.values), True
    last: Mapping[int, float] = dict(zip(steps, points.values, strict=True))  # of equal steps the last one stays
    values = [last.get(epoch) for epoch in epochs]
    # A repeated log, or a run resumed from its last checkpoint, says a step twice; more is not a repetition.
    is_whole = last.keys() <= set(epochs) and len(steps) <= 2 * len(last)
    return values, is_whole


def _number_by_time(charted: Mapping[str, Points], metrics: Mapping[str, Points]) -> Mapping[str, Points]:
    """Returns `metrics`; points that were all logged without a step (at 0) become epochs 0, 1, 2, ... by time.

    It does that only if it is not a guess: each charted series has as many points as the others, and no two at the same
    time.
    """
    if not any(points.steps[-1] == 0 and len(points.steps) > 1 for points in charted.values()):
        return metrics
    lengths = {len(points.steps) for points in charted.values()}
    if len(lengths) != 1 or not all(map(_is_unstepped, charted.values())):
        return metrics
    return {
        key: Points(range(len(points.steps)), points.timestamps_ms, points.values)
        if len(points.steps) in lengths and _is_unstepped(points) and not key.startswith(FINAL_PREFIXES)
        else points
        for key, points in metrics.items()
    }


def _is_unstepped(points: Points) -> bool:
    times = points.timestamps_ms
    return points.steps[0] == points.steps[-1] == 0 and all(map(lt, times, times[1:]))


def _to_saved_at(info: TrackedRun, found: Iterable[Points]) -> datetime:
    """Returns when the run ended; else when it last logged one of the points that were read, or started."""
    candidates: list[Callable[[], int | None]] = [
        lambda: info.ended_at_ms,
        lambda: max((max(points.timestamps_ms) for points in found), default=None),
        lambda: info.started_at_ms,
    ]
    for candidate in candidates:
        at_ms = candidate()
        if at_ms is None or at_ms <= 0:
            continue
        try:
            return _EPOCH_START + timedelta(milliseconds=at_ms)
        except OverflowError:  # someone logged seconds, or nanoseconds, as milliseconds
            continue
    return _EPOCH_START
