"""NaN and the infinities: strict JSON has no token for them, so a record holds null and, beside it, what it was."""

import math
from collections.abc import Iterable
from typing import Any

from switchyard.core.metrics.paths import find_place, to_index, to_names
from switchyard.core.metrics.record import MetricsRecord, NonFiniteKind, Series

MAX_DEPTH = 64
"""Objects and arrays inside each other, in the places that take any JSON: deeper ones are refused."""

Keys = tuple[str | int, ...]


class TooDeep(ValueError):
    """A value is nested deeper than MAX_DEPTH."""


def to_kind(value: float) -> NonFiniteKind:
    """Returns what a non-finite number is."""
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"


def to_series(values: Iterable[float | None]) -> tuple[Series, dict[int, NonFiniteKind]]:
    """Returns the values with null for the non-finite ones, and what those were, by position.

    >>> to_series([0.5, float("nan"), None])
    ([0.5, None, None], {1: 'nan'})
    """
    series: Series = []
    kinds: dict[int, NonFiniteKind] = {}
    for position, value in enumerate(values):
        if value is not None and not math.isfinite(value):
            kinds[position] = to_kind(value)
            value = None
        series.append(value)
    return series, kinds


def take_non_finite(value: Any, keys: Keys = ()) -> tuple[Any, list[tuple[Keys, NonFiniteKind]]]:
    """Returns a JSON value with null for each non-finite number, and where (the keys from its root) those stood.

    Raises:
        TooDeep: it is nested deeper than MAX_DEPTH.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None, [(keys, to_kind(value))]
    if not isinstance(value, dict | list):
        return value, []
    if len(keys) >= MAX_DEPTH:
        raise TooDeep
    taken: list[tuple[Keys, NonFiniteKind]] = []
    cleaned = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        clean, found = (item, []) if type(item) in (int, str) else take_non_finite(item, (*keys, key))
        cleaned.append(clean)
        taken += found
    return (dict(zip(value, cleaned, strict=True)) if isinstance(value, dict) else cleaned), taken


class Places:
    """The places of one record, as its `non_finite` names them: by section, series and position."""

    def __init__(self, record: MetricsRecord) -> None:
        self._record = record
        self._positions = {str(epoch): position for position, epoch in enumerate(record.epochs)}

    def find(self, section: str, name: str, position: str) -> Any:
        """Returns what stands there: None if it is null. Raises: LookupError: the record has no such place."""
        record = self._record
        if section in ("loss", "gradient", "metrics"):
            series: Series = getattr(record, section)[name]
            return series[self._positions[position]]
        if section == "other_series":
            values = record.other_series[name].values
            return values[to_index(position, len(values))]
        if section in ("final_metrics", "params", "unknown"):
            return find_place(getattr(record, section)[name], position)
        return self._find_statistic(section, name, position)

    def kinds(self, section: str, name: str) -> dict[int, NonFiniteKind]:
        """Returns what the non-finite values of one series are, by their position in its list."""
        found = self._record.non_finite.get(section, {}).get(name, {})
        if section == "other_series":
            return {int(position): kind for position, kind in found.items()}
        return {self._positions[epoch]: kind for epoch, kind in found.items()}

    def _find_statistic(self, section: str, name: str, position: str) -> Any:
        try:
            kind, tower = to_names(section)
        except ValueError:
            raise LookupError(section) from None
        if kind not in ("weight_stats", "gradient_stats"):
            raise LookupError(section)
        found = getattr(self._record, kind)[tower]
        if name in found.series:
            return found.series[name][self._positions[position]]
        if name == "histogram" and found.histogram is not None:
            return find_place({"bin_edges": found.histogram.bin_edges, "counts": found.histogram.counts}, position)
        return find_place(found.other[name], position)
