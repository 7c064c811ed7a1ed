"""What is kept of a run as single values, each with its place: of a history, a histogram's row or a record.

So two keepings are compared value by value, and a difference can be named.

Whatever stands there, also what should not, becomes a text; nothing here raises over a damaged value.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

from switchyard.core.metrics.legacy_names import to_key
from switchyard.core.metrics.nonfinite import Places
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import HISTOGRAM_BINS, MetricsRecord, TowerStatistics
from switchyard.core.verify.findings import Difference, Place

Cells = dict[tuple[str, int | None], str]
"""The values as texts, by JSON path and epoch (of a series on steps of its own, the step; None: neither)."""

NOTHING = "nothing"
KINDS = {"weights": "weight_stats", "gradients": "gradient_stats"}
"""A published histogram's kind, and the record's section that it is of."""


def to_text(value: Any) -> str:
    """Returns a JSON value as a text; equal values, and only they, have equal texts, however they were written.

    >>> to_text({"b": [1.0, None], "a": "1"}), to_text(-0.0)
    ('{"a": "1", "b": [1, null]}', '0')
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quote(key)}: {to_text(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_text, value)) + "]"
    if isinstance(value, str):
        return _quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(value)


def history_cells(history: Mapping[str, Any]) -> Cells:
    """Returns the cells of a published history, under its own names (``loss.val``).

    `non_finite` is read into the values that it speaks of.
    """
    cells: Cells = {}
    kinds = _Kinds(history.get("non_finite", {}))
    epochs = _add_epochs(cells, "epochs", history.get("epochs", []))
    for section, found in history.items():
        if section in ("epochs", "non_finite"):
            continue
        if not isinstance(found, dict):
            cells[section, None] = to_text(found)
            continue
        cells[section, None] = "an object"  # an empty one is not the same as none
        for name, value in found.items():
            path = to_path(section, name)
            if section in ("loss", "gradient", "metrics"):
                _add_series(cells, path, value, epochs, kinds.take(section, name))
            elif section == "series":
                add_entry(cells, path, value, None, kinds.take(section, name))
            elif section == "final_metrics":
                cells[path, None] = _with_kind(value, kinds.take(section, name).pop("", None))
            else:
                cells[path, None] = to_text(value)
    cells |= kinds.left()
    return cells | {(name, None): "no such key" for name in ("epochs", "non_finite") if name not in history}


def add_entry(cells: Cells, path: str, entry: Any, epochs: Any, kinds: dict[str, Any] | None = None) -> None:
    """Adds a series that says its own `steps`, or else is on `epochs`. What is not such a series is one cell.

    Args:
        kinds: what its nulls are, by position; those that are used are taken out.
    """
    steps = entry.get("steps", epochs) if isinstance(entry, dict) else None
    values = entry.get("values") if isinstance(entry, dict) else None
    if not isinstance(steps, list) or not isinstance(values, list) or len(steps) != len(values):
        cells[path, None] = to_text(entry)
        return
    for name, value in entry.items():
        if name not in ("steps", "values"):
            cells[f"{path}.{name}", None] = to_text(value)
    for position, (step, value) in enumerate(zip(steps, values, strict=True)):
        if not str(step).removeprefix("-").isdecimal():
            cells[f"{path}.steps[{position}]", None] = to_text(step)
            continue
        text = _with_kind(value, kinds.pop(str(position), None) if kinds else None)
        before = cells.get((path, int(step)))
        cells[path, int(step)] = text if before is None else f"{before}, {text}"


def histogram_cells(kind: str, tower: str, row: Mapping[str, Any]) -> Cells:
    """Returns the cells of one published histogram, by names such as ``weight_stats.query.histogram.counts[7]``."""
    cells: Cells = {}
    path = to_path(KINDS.get(kind, kind), tower, "histogram")
    epochs = _add_epochs(cells, f"{path}.epochs", row.get("epochs", []))
    for name, value in row.items():
        if name == "counts":
            _add_counts(cells, f"{path}.counts", value, epochs)
        elif name != "epochs":
            cells[f"{path}.{name}", None] = to_text(value)
    return cells


def record_cells(record: MetricsRecord) -> Cells:
    """Returns the cells of all that the record says of its run's epochs, and its status.

    It leaves out `run`, `saved_at` and the warnings.
    """
    cells: Cells = {("status", None): record.status, ("available", None): to_text(record.available)}
    _add_epochs(cells, "epochs", record.epochs)
    kinds = _Kinds(record.non_finite)
    for section in ("loss", "gradient", "metrics"):
        for name, series in getattr(record, section).items():
            _add_series(cells, to_path(section, name), series, record.epochs, kinds.take(section, name))
    for section in KINDS.values():
        for tower, statistics in getattr(record, section).items():
            _add_tower(cells, to_path(section, tower), statistics, record.epochs, kinds)
    places = Places(record)
    for name, other in record.other_series.items():
        found = places.kinds("other_series", name)
        kinds.take("other_series", name).clear()
        path = to_path("other_series", name, "values")
        for position, (step, value) in enumerate(zip(other.steps, other.values, strict=True)):
            text = _with_kind(value, found.get(position))
            before = cells.get((path, step))
            cells[path, step] = f"{before}, {text}" if before else text
    for name, value in record.final_metrics.items():
        cells[to_path("final_metrics", name), None] = _with_kind(value, kinds.take("final_metrics", name).pop("", None))
    for name, value in record.params.items():
        cells[to_path("params", name), None] = to_text(value)
    for path, value in record.unknown.items():
        cells[path, None] = to_text(value)
    cells |= kinds.left()
    return cells


def compare_cells(expected: Cells, found: Cells, place: Place) -> list[Difference]:
    """Returns each path that differs, once: at its first epoch, with the number of its other differences."""
    by_path: dict[str, list[int | None]] = {}
    for cell in [*expected, *(cell for cell in found if cell not in expected)]:
        if expected.get(cell, NOTHING) != found.get(cell, NOTHING):
            by_path.setdefault(cell[0], []).append(cell[1])
    return [_to_difference(expected, found, place, path, at) for path, at in by_path.items()]


def _to_difference(expected: Cells, found: Cells, place: Place, path: str, at: list[int | None]) -> Difference:
    epochs = sorted(epoch for epoch in at if epoch is not None)
    epoch = epochs[0] if epochs else None
    said = found.get((path, epoch), NOTHING)
    if epochs and None in at:  # a series of another length than the epochs: the rest stands beside wrong ones
        said += f"; {found.get((path, None), NOTHING)}"
    return Difference(
        place=place,
        path=path,
        key=to_key(path),
        epoch=epoch,
        expected=expected.get((path, epoch), NOTHING),
        found=said,
        more=len(at) - 1,
    )


class _Kinds:
    """A `non_finite`: values take the entries that speak of them, and what is left speaks of none."""

    def __init__(self, non_finite: Any) -> None:
        self._odd: Cells = {} if isinstance(non_finite, dict) else {("non_finite", None): to_text(non_finite)}
        self._kinds: dict[str, Any] = dict(non_finite) if isinstance(non_finite, dict) else {}
        for section, names in self._kinds.items():
            if isinstance(names, dict):
                self._kinds[section] = {
                    name: dict(found) if isinstance(found, dict) else found for name, found in names.items()
                }

    def take(self, section: str, name: str) -> dict[str, Any]:
        """Returns the kinds of one series, by position; the caller takes out those that it uses."""
        names = self._kinds.get(section, {})
        found = names.get(name, {}) if isinstance(names, dict) else {}
        return found if isinstance(found, dict) else {}

    def left(self) -> Cells:
        cells: Cells = dict(self._odd)
        for section, names in self._kinds.items():
            for name, found in names.items() if isinstance(names, dict) else [("", names)]:
                for position, kind in found.items() if isinstance(found, dict) else [("", found)]:
                    cells[to_path("non_finite", section, name, position), None] = to_text(kind)
        return cells


def _add_epochs(cells: Cells, path: str, found: Any) -> list[int]:
    """Adds one cell an epoch, and returns the epochs; what is not a rising list of integers is a cell by itself."""
    epochs = found if isinstance(found, list) else []
    good = all(type(epoch) is int for epoch in epochs)
    if epochs is not found or not good or any(after <= before for before, after in pairwise(epochs)):
        cells[path, None] = to_text(found)
    epochs = [epoch for epoch in epochs if type(epoch) is int]
    cells |= {(path, epoch): "kept" for epoch in epochs}
    return epochs


def _add_series(cells: Cells, path: str, series: Any, epochs: list[int], kinds: dict[str, Any]) -> None:
    if not isinstance(series, list) or not series:
        cells[path, None] = "no values" if series == [] else to_text(series)
        return
    if len(series) != len(epochs):
        cells[path, None] = f"{len(series)} values for {len(epochs)} epochs"
    for epoch, value in zip(epochs, series, strict=False):
        cells[path, epoch] = _with_kind(value, kinds.pop(str(epoch), None))


def _add_tower(cells: Cells, path: str, statistics: TowerStatistics, epochs: list[int], kinds: _Kinds) -> None:
    cells[path, None] = "a tower"  # one without statistics is not the same as no such tower
    for name, series in statistics.series.items():
        _add_series(cells, f"{path}{_below(name)}", series, epochs, kinds.take(path, name))
    for name, value in statistics.other.items():
        cells[f"{path}{_below(name)}", None] = to_text(value)
    if statistics.histogram is not None:
        histogram = msgspec.structs.asdict(statistics.histogram)
        del histogram["edges_assumed"]  # it says where the edges come from, and changes no value
        _add_counts(cells, f"{path}.histogram.counts", histogram.pop("counts"), epochs)
        cells |= {(f"{path}.histogram.{name}", None): to_text(value) for name, value in histogram.items()}


def _below(name: str) -> str:
    found = to_path(name)
    return found if found.startswith("[") else f".{found}"


def _add_counts(cells: Cells, path: str, rows: Any, epochs: list[int]) -> None:
    """Adds one cell for each epoch and bin; the 25 cells of a missing row say that it is missing."""
    if not isinstance(rows, list) or len(rows) != len(epochs):
        cells[path, None] = f"{len(rows)} rows for {len(epochs)} epochs" if isinstance(rows, list) else to_text(rows)
    for epoch, row in zip(epochs, rows if isinstance(rows, list) else [], strict=False):
        if row is None:
            cells |= {(f"{path}[{number}]", epoch): "no row" for number in range(HISTOGRAM_BINS)}
        elif isinstance(row, list):
            cells |= {(f"{path}[{number}]", epoch): to_text(count) for number, count in enumerate(row)}
        else:
            cells[path, epoch] = to_text(row)


def _with_kind(value: Any, kind: Any) -> str:
    if kind is None:
        return to_text(value)
    return str(kind) if value is None else f"{to_text(value)}, and {kind} by its non_finite"


def _quote(text: str) -> str:
    return msgspec.json.encode(text).decode()
