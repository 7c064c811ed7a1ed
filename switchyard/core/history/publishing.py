"""Builds what one publish writes: the published history, its digests, its rank, series, values and histograms."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from switchyard.core.history.best import find_best
from switchyard.core.history.digest import to_both_digests, to_digests
from switchyard.core.history.full_series import to_full_series
from switchyard.core.history.histograms import to_histogram_rows
from switchyard.core.history.publication import Digests, Parent, Progress, Publication, Rank, Versions
from switchyard.core.history.sampling import Choice, choose_epochs, choose_points
from switchyard.core.history.scalars import Scalar, find_kinds, list_charted, to_json_steps
from switchyard.core.history.values import to_values
from switchyard.core.metrics.nonfinite import Places
from switchyard.core.metrics.record import (
    GRADIENT_SERIES,
    PUBLISHED_LOSS,
    MetricsRecord,
    NonFiniteKind,
    Sampling,
    Series,
    to_refit_epochs,
)
from switchyard.core.runs.rows import RunStatus

Source = Literal["file", "mlflow"]

HISTORY_VERSION: Final = 2
"""The published history's `schema_version`."""
MAX_CURVES_BYTES: Final = 700_000
"""The most bytes of the series' JSON. The full series have all of them."""
MAX_FACTS_BYTES: Final = 300_000
"""The most bytes of the JSON of final metrics and params, and a third of it of tags. The values have all of the first
two."""
_MAX_BOTH_BYTES: Final = 800_000
"""The most bytes of all these: with the losses, the norms and their axis a history stays below 1 MB."""
_NAMES_SHOWN: Final = 100
_CHARACTERS_SHOWN: Final = 200
_WARNINGS_SHOWN: Final = 20
_WARNING_CHARACTERS: Final = 500

_PUBLISHED_LOSS_KEYS: Final = frozenset(PUBLISHED_LOSS.values())
_STATUS_RANK = {"partial": 0, "failed": 1, "completed": 2}


def to_rank(record: MetricsRecord) -> Rank:
    """Returns how new the record is.

    A later attempt, restart, epoch or state of the same run outranks an earlier one.
    """
    return Rank(
        attempt=record.run.attempt if record.run else 0,
        restart=record.run.restart if record.run else 0,
        epochs=len(record.epochs) + to_refit_epochs(record),
        status=_STATUS_RANK[record.status],
    )


def to_publication(
    record: MetricsRecord,
    *,
    quick_test_id: int,
    source: Source,
    sampling: Sampling,
    row_status: RunStatus | None = None,
    of_attempt: int | None = None,
    error: str = "",
    mlflow_run_id: str = "",
    tags: Mapping[str, str] | None = None,
    parent: Parent | None = None,
    progress: Progress | None = None,
    versions: Versions | None = None,
    first_digests: Digests | None = None,
) -> Publication:
    """Returns all that publishing the record writes. Everything in it is strict JSON: what is not finite is null.

    Args:
        first_digests: of the same source by the first versions; those of `record` itself where it comes from a file.

    Raises:
        BadRequest: `sampling` cannot be.
    """
    choice = choose_epochs(record, sampling)
    if source == "file":
        digests, first_digests = to_both_digests(record)
    else:
        digests = to_digests(record)
    histograms = to_histogram_rows(record)
    charted = list(list_charted(record))
    facts = _Facts(record, tags or {})
    curves = _Curves(record, charted, choice, sampling, room=min(MAX_CURVES_BYTES, _MAX_BOTH_BYTES - facts.bytes))
    cut = curves.cut | facts.cut
    history = {
        "available": record.available,
        "epochs": [record.epochs[position] for position in choice.positions],
        "loss": {name: _sample(record.loss.get(key), choice) for name, key in PUBLISHED_LOSS.items()},
        "gradient": {name: _sample(record.gradient.get(name), choice) for name in GRADIENT_SERIES},
        "metrics": curves.metrics,
        "series": curves.series,
        "best": curves.best,
        "final_metrics": facts.final_metrics,
        "params": facts.params,
        "tags": facts.tags,
        "parent": None if parent is None else msgspec.to_builtins(parent),
        "progress": None if progress is None else msgspec.to_builtins(progress),
        "mlflow_run_id": mlflow_run_id,
        "histogram_available": bool(histograms),
        "schema_version": HISTORY_VERSION,
        "status": record.status,
        "source": source,
        "sampling": {
            "interval": sampling.interval,
            "by": choice.by,
            "max_points": sampling.max_points,
            "keep_extremes": sampling.keep_extremes,
            "kept": len(choice.positions),
            "total": len(record.epochs),
            "non_finite_dropped": curves.dropped,
        }
        | ({"cut": cut} if cut else {}),
        "non_finite": curves.non_finite,
        "digest": {"charted": digests.charted, "full": digests.full},
    }
    if record.warnings:
        history["warnings"] = _shorten(record.warnings)
    return Publication(
        quick_test_id=quick_test_id,
        history=history,
        digests=digests,
        rank=to_rank(record),
        histograms=histograms,
        versions=versions or Versions(),
        first_digests=first_digests,
        series=to_full_series(record, charted),
        values=to_values(
            final=record.final_metrics,
            last={scalar.name: _find_last(scalar.values) for scalar in charted},
            best=curves.best,
            params=record.params,
            tags=facts.tags,
        ),
        row_status=row_status,
        of_attempt=of_attempt,
        error=error,
    )


class _Facts:
    """What a history has beside its curves.

    One text of 6,000 characters is not a reason to have none of the others: what does not fit is left out, and named.
    """

    def __init__(self, record: MetricsRecord, tags: Mapping[str, str]) -> None:
        self.bytes = 0
        self.cut: dict[str, Any] = {}
        self.tags = self._fit("tags", tags, MAX_FACTS_BYTES // 3)
        most = self.bytes + MAX_FACTS_BYTES
        self.final_metrics = self._fit("final_metrics", record.final_metrics, most)
        self.params = self._fit("params", record.params, most)

    def _fit(self, section: str, found: Mapping[str, Any], most: int) -> dict[str, Any]:
        size = len(msgspec.json.encode(found))
        if self.bytes + size <= most:
            self.bytes += size
            return dict(found)
        kept: dict[str, Any] = {}
        left_out: list[str] = []
        for name, value in found.items():
            size = len(msgspec.json.encode({name: value}))
            if self.bytes + size > most:
                left_out.append(name)
                continue
            self.bytes += size
            kept[name] = value
        self.cut[section] = _to_cut(left_out)
        return kept


class _Curves:
    """The charted series as they are published, and what is said of those that are not."""

    def __init__(
        self, record: MetricsRecord, charted: Sequence[Scalar], choice: Choice, sampling: Sampling, *, room: int
    ) -> None:
        self.metrics: dict[str, Series] = {}
        self.series: dict[str, dict[str, Any]] = {}
        self.best: dict[str, dict[str, Any]] = {}
        self.non_finite: dict[str, dict[str, Any]] = {}
        self.dropped = 0
        self.cut: dict[str, Any] = {}
        self._record = record
        self._places = Places(record)
        self._choice = choice
        self._kept = dict(zip(choice.positions, range(len(choice.positions)), strict=True))
        self._left_out: list[str] = []
        self._thinned = 1 if choice.cut else 0
        self._bytes = 0
        self._is_measured = False
        self._room = room
        for name, key in PUBLISHED_LOSS.items():
            self._add_kinds("loss", key, name)
        for name in GRADIENT_SERIES:
            self._add_kinds("gradient", name, name)
        self._add_all(charted, sampling, room)
        for section in ("final_metrics", "params"):
            if record.non_finite.get(section):
                self.non_finite[section] = record.non_finite[section]
        if self._left_out:
            self.cut |= _to_cut(self._left_out)
        if self._thinned:
            self.cut["by_max_points"] = self._thinned

    def _add_all(self, charted: Sequence[Scalar], sampling: Sampling, room: int) -> None:
        own = len(self._record.other_series)
        # Many series on steps of their own get fewer points each, rather than a few all of theirs.
        few = Sampling(
            interval=sampling.interval,
            keep_extremes=sampling.keep_extremes,
            max_points=max(2, min(sampling.max_points, room // 40 // own)) if own else sampling.max_points,
        )
        for scalar in charted:
            is_loss = scalar.section == "loss" and scalar.key in _PUBLISHED_LOSS_KEYS
            best = self._find_best(scalar, sampling)
            if not is_loss and not self._add(scalar, few, best):
                self._left_out.append(scalar.name)
            elif best is not None:
                self.best[scalar.name] = best

    def _find_best(self, scalar: Scalar, sampling: Sampling) -> dict[str, Any] | None:
        steps = self._record.epochs if scalar.steps is None else scalar.steps
        best = find_best(scalar.name, steps, scalar.values, sampling.directions)
        if best is None:
            return None
        step = best.pop("step")
        at = {"epoch": step} if scalar.steps is None else {"step": to_json_steps([step])[0]}
        return {"value": best["value"], **at, "direction": best["direction"]}

    def _add(self, scalar: Scalar, sampling: Sampling, best: dict[str, Any] | None) -> bool:
        """Adds a series; False: there is no more room."""
        if scalar.steps is None:
            values = _sample(scalar.values, self._choice)
            if not self._has_room(scalar.name, values, best):
                return False
            self.metrics[scalar.name] = values
            self._add_kinds(scalar.section, scalar.key, scalar.name, "metrics")
            return True
        choice = choose_points(scalar.steps, scalar.values, sampling)
        entry = {
            "steps": to_json_steps([scalar.steps[position] for position in choice.positions]),
            "values": [scalar.values[position] for position in choice.positions],
            "kept": len(choice.positions),
            "total": len(scalar.values),
        }
        if not self._has_room(scalar.name, entry, best):
            return False
        self._thinned += choice.cut
        self.series[scalar.name] = entry
        kinds = find_kinds(self._record, self._places, scalar)
        if kinds:
            found = {str(at): kinds[position] for at, position in enumerate(choice.positions) if position in kinds}
            self.dropped += len(kinds) - len(found)
            if found:
                self.non_finite.setdefault("series", {})[scalar.name] = found
        return True

    def _has_room(self, name: str, content: Any, best: Any) -> bool:
        # At most 25 characters a number, and a name three times. Only what may be too much is measured.
        values = content if isinstance(content, list) else content["values"]
        most = 25 * (len(values) if isinstance(content, list) else 2 * len(values)) + 18 * len(name) + 200
        if not self._is_measured and self._bytes + most > self._room:
            self._is_measured = True
            known = (self.metrics, self.series, self.best, self.non_finite)
            self._bytes = sum(len(msgspec.json.encode(found)) for found in known)
        if self._is_measured:
            most = len(msgspec.json.encode({name: [content, best]}))
            # What is null may be named in `non_finite`, with its epoch.
            nulls, again = values.count(None), len(msgspec.json.encode(name)) + 6
            most += (again + 30 * nulls if nulls else 0) + (again if best is not None else 0)
        if self._bytes + most > self._room:
            return False
        self._bytes += most
        return True

    def _add_kinds(self, section: str, key: str, name: str, published: str = "") -> None:
        if key not in self._record.non_finite.get(section, {}):
            return
        kinds: dict[int, NonFiniteKind] = self._places.kinds(section, key)
        found = {str(self._record.epochs[position]): kind for position, kind in kinds.items() if position in self._kept}
        self.dropped += len(kinds) - len(found)
        if found:
            self.non_finite.setdefault(published or section, {})[name] = found


def _to_cut(left_out: Sequence[str]) -> dict[str, Any]:
    return {"left_out": len(left_out), "names": [name[:_CHARACTERS_SHOWN] for name in left_out[:_NAMES_SHOWN]]}


def _shorten(warnings: Sequence[str]) -> list[str]:
    """Returns what readers should know of the curves: a damaged source may have thousands of such lines."""
    said = [text[:_WARNING_CHARACTERS] for text in warnings[:_WARNINGS_SHOWN]]
    more = len(warnings) - len(said)
    return [*said, f"and {more} more"] if more > 0 else said


def _sample(series: Series | None, choice: Choice) -> Series:
    """Returns the kept values; none at all of a series that the record does not have."""
    return [] if series is None else [series[position] for position in choice.positions]


def _find_last(series: Series) -> float | None:
    return next((value for value in reversed(series) if value is not None), None)
