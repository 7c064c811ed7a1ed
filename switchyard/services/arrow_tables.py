"""Makes Arrow tables of what is published: of a history, of all points of a run, of runs, and of a comparison."""

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import pyarrow as pa

from switchyard.core.errors import BadRecord
from switchyard.core.history.stored_series import to_stored_series

_NON_FINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_TIMES: Final = ("created_at", "started_at", "completed_at", "archived_at")
_MOMENT: Final = pa.timestamp("us", tz="UTC")


class ComparisonTables(NamedTuple):
    """A comparison's four tables, and the ids that name no run."""

    curves: pa.Table  # quick_test_id, name, step, value: every point
    values: pa.Table  # name, direction, best (ids), and a column of numbers a run
    params: pa.Table  # name and a column of texts a run: those that differ
    tags: pa.Table  # the same for tags
    missing: list[int]


def to_history_table(history: bytes, *, of: str) -> pa.Table:
    """Returns a row for each epoch: ``epoch``, and a column of every series on the history's epochs.

    A column has the name that ``/series/`` gives the series. A value that was not logged is null; NaN and the
    infinities are themselves.

    Series on steps of their own are in the table of points. A run with nothing published has no row.

    Raises: BadRecord: the history cannot be read."""
    found = to_stored_series(history)
    if found is None:
        raise BadRecord(of, ["the stored history is not a JSON object: publish it again with `switchyard ingest`"])
    stored = json.loads(gzip.decompress(found.gzip_json))
    columns: dict[str, pa.Array] = {"epoch": pa.array(stored["epochs"], pa.int64())}
    for name, points in _list_points(stored):
        if "steps" not in stored["series"][name]:
            columns[name] = pa.array(points.values, pa.float64())
    return pa.table(columns)


def to_series_table(series: bytes) -> pa.Table:
    """Returns a row for each point: ``name``, ``step``, ``value``; one series after the other.

    A run with nothing published has no row.

    The schema's metadata say ``complete``: false if only the points of a sampled history are left."""
    stored = json.loads(series)
    names: list[str] = []
    steps: list[int] = []
    values: list[float | None] = []
    for name, points in _list_points(stored) if stored.get("available") else ():
        names += [name] * len(points.values)
        steps += points.steps
        values += points.values
    table = _to_points({"name": pa.array(names, pa.string())}, steps, values)
    return table.replace_schema_metadata({"complete": str(bool(stored.get("complete"))).lower()})


def to_runs_table(lines: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Returns a row for each run: its columns, and a column of each value, named as a filter names it.

    Such a name is ``metrics.test_recall_at_10``.

    A value's column holds numbers where all of its values are numbers, else texts; null if a run lacks it."""
    rows = list(lines)
    columns: dict[str, pa.Array] = {
        "id": pa.array([row["id"] for row in rows], pa.int64()),
        **{
            name: _to_texts([row.get(name) for row in rows])
            for name in ("status", "display_name", "experiment", "error")
        },
        "available": pa.array([row.get("available") for row in rows], pa.bool_()),
        **{name: _to_moments([row.get(name) for row in rows]) for name in _TIMES},
        "duration_s": pa.array([row.get("duration_s") for row in rows], pa.float64()),
    }
    fields = dict.fromkeys(field for row in rows for field in row.get("values") or {})
    for field in fields:
        columns[field] = _to_column([(row.get("values") or {}).get(field) for row in rows])
    return pa.table(columns)


def to_comparison_tables(comparison: bytes) -> ComparisonTables:
    """Returns the tables of ``/compare/``'s answer."""
    found = json.loads(comparison)
    ids: list[int] = found["ids"]
    values = {
        "name": _to_texts([one["field"] for one in found["values"]]),
        "direction": _to_texts([one["direction"] for one in found["values"]]),
        "best": pa.array([one["best"] for one in found["values"]], pa.list_(pa.int64())),
        **_to_run_columns(ids, found["values"], pa.float64()),
    }
    return ComparisonTables(
        curves=_to_curves(found),
        values=pa.table(values),
        params=_to_differing(ids, found["params"]["differ"]),
        tags=_to_differing(ids, found["tags"]["differ"]),
        missing=found["missing"],
    )


class _Points(NamedTuple):
    steps: list[int]
    values: list[float | None]


def _list_points(stored: Mapping[str, Any]) -> Iterator[tuple[str, _Points]]:
    """Yields the points of each series, with what is not finite in the place of null."""
    for name, entry in stored["series"].items():
        values = [None if value is None else float(value) for value in entry["values"]]
        for position, kind in (stored.get("non_finite") or {}).get(name, {}).items():
            values[int(position)] = _NON_FINITE[kind]
        steps = [int(step) for step in entry.get("steps", stored["epochs"])]  # beyond 2**53 a step is a text
        yield name, _Points(steps, values)


def _to_curves(found: Mapping[str, Any]) -> pa.Table:
    epochs = {run["id"]: run["epochs"] for run in found["runs"]}
    ids: list[int] = []
    names: list[str] = []
    steps: list[int] = []
    values: list[float | None] = []
    for curve in found["curves"]:
        for line in curve["runs"]:
            some = [None if value is None else float(value) for value in line["values"]]
            at = line.get("steps") or epochs[line["id"]][: len(some)]
            ids += [line["id"]] * len(some)
            names += [curve["name"]] * len(some)
            steps += [int(step) for step in at]
            values += some
    return _to_points({"quick_test_id": pa.array(ids, pa.int64()), "name": pa.array(names, pa.string())}, steps, values)


def _to_points(first: Mapping[str, pa.Array], steps: Sequence[int], values: Sequence[float | None]) -> pa.Table:
    return pa.table({**first, "step": pa.array(steps, pa.int64()), "value": pa.array(values, pa.float64())})


def _to_differing(ids: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    said = [{"values": [None if value is None else _to_text(value) for value in row["values"]]} for row in rows]
    return pa.table({"name": _to_texts([row["name"] for row in rows]), **_to_run_columns(ids, said, pa.string())})


def _to_run_columns(ids: Sequence[int], rows: Sequence[Mapping[str, Any]], kind: pa.DataType) -> dict[str, pa.Array]:
    return {str(id_): pa.array([row["values"][at] for row in rows], kind) for at, id_ in enumerate(ids)}


def _to_column(values: Sequence[Any]) -> pa.Array:
    if all(value is None or isinstance(value, int | float) for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return _to_texts([None if value is None else _to_text(value) for value in values])


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _to_texts(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


def _to_moments(values: Sequence[str | None]) -> pa.Array:
    return pa.array([None if value is None else datetime.fromisoformat(value) for value in values], _MOMENT)
