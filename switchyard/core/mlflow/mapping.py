"""Makes the metrics record of an MLflow run's raw points: version 2 of the mapping of docs/mapping.md, in code.

Every key of every run is charted. Each series stands in one place: among the run's epochs where its
steps are these, else in `other_series` on steps of its own. What is lost (earlier values of a step that was logged
again, timestamps, tags) docs/mapping.md names, with the reason. `core.mlflow.mapping1` is version 1.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from switchyard.core.errors import BadRecord, BadRequest
from switchyard.core.metrics.legacy_names import Place, to_place
from switchyard.core.metrics.nonfinite import to_kind, to_series
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import (
    FileStatus,
    MetricsRecord,
    OtherSeries,
    Series,
    TowerStatistics,
)
from switchyard.core.mlflow.axis import NO_AXIS, Line, choose_axis, to_line
from switchyard.core.mlflow.histograms import BinColumn, to_histogram
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.names import choose_names
from switchyard.core.mlflow.owners import split_owned
from switchyard.core.mlflow.raw_run import Points, RawRun, TrackedRun
from switchyard.core.mlflow.rules import NO_RULES, Rules
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


def from_points(run: RawRun, *, rules: Rules = NO_RULES) -> MetricsRecord:
    """Returns the record of `run`.

    Of a run that was read with ``keys=SCALARS`` it is `charted_only`: equal to the whole run's in all but the
    histograms, and in the `charted` digest.

    Args:
        rules: a team's own, for the names of the series; they go before the table of docs/mapping.md.

    Raises:
        BadRequest: the run was read with another choice of keys, so that its record would claim too little.
        BadRecord: its status is none that we know.
    """
    if run.keys is not None and run.keys != SCALARS:
        raise BadRequest(
            f"a record of MLflow run {run.info.run_id} needs all of its metrics, or those of `SCALARS`; "
            "it was read with other keys"
        )
    if run.info.status not in FILE_STATUS:
        expected = ", ".join(FILE_STATUS)
        got = run.info.status or "none: its row in MLflow has no status"
        raise BadRecord(f"MLflow run {run.info.run_id}", [f"`status` must be one of {expected}; got {got}"])
    return _Mapping(run, rules).to_record()


class _Series(msgspec.Struct):
    """The points of one key, and what is decided of them."""

    key: str
    name: str
    place: Place
    points: Points
    line: Line


class _Mapping:
    """One run's record while its series are put in their places."""

    def __init__(self, run: RawRun, rules: Rules) -> None:
        self._run = run
        self._repeated: list[str] = []
        metrics, warnings = split_owned(run.metrics, run.owned)
        names, told = choose_names(metrics, rules)
        self._series, self._bins = _to_series(metrics, names)
        self._axis = choose_axis([(one.name, one.place.section, one.line) for one in self._series])
        self._record = MetricsRecord(
            status=FILE_STATUS[run.info.status],
            saved_at=_to_saved_at(run.info, run.metrics.values()),
            epochs=list(self._axis.steps),
            run=from_tags(run.tags),
            params={name: run.params[name] for name in sorted(run.params)},
            charted_only=run.keys is not None,
            warnings=warnings + told,
        )

    def to_record(self) -> MetricsRecord:
        """Returns the record, with every series in its place."""
        record = self._record
        for one in self._series:
            self._add(one)
        self._add_histograms()
        for section in ("weight_stats", "gradient_stats"):
            for tower, statistics in getattr(record, section).items():
                said = read_statistics_tag(self._run.tags, section, tower).other
                statistics.other = {name: item for name, item in said.items() if name not in statistics.series}
        record.available = bool(record.epochs or record.other_series or record.final_metrics or record.params)
        self._warn()
        return record

    def _add(self, one: _Series) -> None:
        place, line = one.place, one.line
        if place.section == "final_metrics":
            self._add_final(one)
            if len(line.steps) == 1:
                return  # said once, or said again at once
            place = Place("metrics", one.name)
        elif self._axis is NO_AXIS and place.section == "metrics" and len(line.steps) == 1:
            self._add_final(one)  # of a run without a curve: a value, as of a model that is trained in one go
            return
        if not self._axis.holds(line, is_charted=not place.tower):
            self._add_other(one)
            return
        if line.is_repeated:
            self._repeated.append(one.key)
        values = _to_values(one.points, line)
        if line.steps != self._axis.steps:
            by_step = dict(zip(line.steps, values, strict=True))
            values = [by_step.get(epoch) for epoch in self._axis.steps]
        self._put(place, values)

    def _add_final(self, one: _Series) -> None:
        value: float | None = one.points.values[-1]
        if value is not None and not math.isfinite(value):
            self._record.non_finite.setdefault("final_metrics", {})[one.name] = {"": to_kind(value)}
            value = None
        self._record.final_metrics[one.name] = value

    def _add_other(self, one: _Series) -> None:
        """Adds every point of it, also those of a step that was logged again: nothing has to be left out here."""
        values: Series = list(one.points.values)
        steps = one.line.steps if one.line.is_numbered else one.points.steps
        if not _is_finite(values):
            values, kinds = to_series(values)
            if kinds:
                found = {str(position): kind for position, kind in kinds.items()}
                self._record.non_finite.setdefault("other_series", {})[one.name] = found
        self._record.other_series[one.name] = OtherSeries(steps=list(steps), values=values)

    def _put(self, place: Place, values: Series) -> None:
        if place.tower:
            section, series = (
                to_path(place.section, place.tower),
                self._statistics(place.section, place.tower).series,
            )
        else:
            section, series = place.section, getattr(self._record, place.section)
        if not _is_finite(values):
            values, kinds = to_series(values)
            if kinds:
                found = {str(self._axis.steps[position]): kind for position, kind in kinds.items()}
                self._record.non_finite.setdefault(section, {})[place.name] = found
        series[place.name] = values

    def _add_histograms(self) -> None:
        """Adds the histograms of the run's epochs.

        They alone say nothing of a run's epochs, because it may be read without them.
        """
        columns: dict[tuple[str, str], dict[int, BinColumn]] = {}
        beside: list[str] = []
        for one in self._bins:
            counts, is_whole = self._axis.spread(one.line, _to_values(one.points, one.line))
            if not is_whole:
                beside.append(one.key)
            if counts is not None:
                assert one.place.bin is not None
                column = BinColumn(one.key, counts)
                if one.line.is_repeated:
                    self._repeated.append(one.key)
                columns.setdefault((one.place.section, one.place.tower), {})[one.place.bin] = column
        odd: list[str] = []
        for (section, tower), found in columns.items():
            histogram, kinds, wrong = to_histogram(section, tower, found, self._run, self._record.warnings)
            self._statistics(section, tower).histogram = histogram
            if kinds:
                self._record.non_finite.setdefault(to_path(section, tower), {})["histogram"] = kinds
            odd += wrong
        warn = self._record.warnings.append
        if odd:
            warn(f"some counts of histograms are no whole numbers, and null: {_shorten(odd)}")
        if beside:
            warn(f"counts of histograms at steps that are no epochs of the run are left out: {_shorten(beside)}")

    def _statistics(self, section: str, tower: str) -> TowerStatistics:
        towers: dict[str, TowerStatistics] = getattr(self._record, section)
        return towers.setdefault(tower, TowerStatistics())

    def _warn(self) -> None:
        warn = self._record.warnings.append
        if numbered := [one.key for one in self._series if one.line.is_numbered]:
            warn(f"logged without steps (all at step 0), and numbered in the order of time: {_shorten(numbered)}")
        if self._repeated:
            warn(f"some steps were logged again, and the last value counts: {_shorten(self._repeated)}")
        if outside := [one.key for one in self._series if one.line.is_outside]:
            warn(f"steps below 0 or above 2^53 - 1 are no epochs; on steps of their own: {_shorten(outside)}")


def _to_series(metrics: Mapping[str, Points], names: Mapping[str, str]) -> tuple[list[_Series], list[_Series]]:
    """Returns all series in the order of their keys, and the bins.

    With that order every way of reading gives the same bytes.
    """
    # In a run where nothing has a step, two points of different times are a series; elsewhere a repetition.
    is_unstepped = all(points.steps[-1] == 0 == points.steps[0] for points in metrics.values()) and any(
        points.timestamps_ms[0] != points.timestamps_ms[-1] for points in metrics.values()
    )
    lines: dict[tuple[int, ...], Line] = {}
    series: list[_Series] = []
    bins: list[_Series] = []
    for key in sorted(metrics):
        points = metrics[key]
        name = names.get(key, key)
        place = to_place(name)
        steps = tuple(points.steps)
        line = lines.get(steps)
        if line is None:
            line = lines[steps] = to_line(steps, is_unstepped=is_unstepped)
        if line.is_numbered and len(steps) == 2 and place.section == "final_metrics":
            line = to_line(steps)  # a test that was run again
        (series if place.bin is None else bins).append(_Series(key, name, place, points, line))
    return series, bins


def _to_values(points: Points, line: Line) -> Series:
    """Returns one value for each of the line's steps."""
    if line.is_repeated:  # of equal steps the last one stays
        return list(dict(zip(points.steps, points.values, strict=True)).values())
    return list(points.values)


def _is_finite(values: Series) -> bool:
    """Returns True if no value is missing, NaN or infinite; False also if that takes a closer look."""
    try:
        return math.isfinite(sum(values))  # type: ignore[arg-type]  # a None raises
    except TypeError:
        return False


def _shorten(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


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
