"""Writes a run's full series and values, and takes them away, in the transaction that publishes their history.

It takes one statement each, for any number of runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Delete, Insert, Row, bindparam, delete, insert, select, text

from switchyard.clients.results.column_types import to_storable
from switchyard.clients.results.tables import Tables
from switchyard.core.history.publication import FullSeries, Value

_AT_ONCE: Final = 500
"""Runs with values in one statement: about 5 MB of parameters."""
_INSERT_SQLITE: Final = (
    "INSERT INTO switchyard_values (quick_test_id, kind, name, number, text, history_etag) VALUES (?, ?, ?, ?, ?, ?)"
)
# One statement, because a million rows one by one take a minute.
_INSERT_POSTGRES: Final = text(
    "INSERT INTO switchyard_values (quick_test_id, kind, name, number, text, history_etag) "
    "SELECT run.id, found.kind, found.name, found.number, found.text, run.etag "
    'FROM json_to_recordset(CAST(:runs AS json)) AS run(id integer, etag text, "values" json), '
    'json_to_recordset(run."values") AS found(kind text, name text, number double precision, text text)'
)


@dataclass(frozen=True)
class SeriesAndValues:
    """What is to be stored of one run, beside the history of `etag`."""

    quick_test_id: int
    etag: str
    series: FullSeries | None
    values: Sequence[Value]


def delete_series_and_values(connection: Connection, tables: Tables, ids: Sequence[int]) -> None:
    """Deletes what there is of these runs."""
    connection.execute(delete(tables.series).where(tables.series.c.quick_test_id.in_(ids)))
    delete_values(connection, tables, ids)


def delete_values(connection: Connection, tables: Tables, ids: Sequence[int]) -> None:
    """Deletes what there is of these runs."""
    connection.execute(_to_delete_values(tables), {"ids": ids})


@lru_cache(maxsize=8)
def _to_delete_values(tables: Tables) -> Delete:
    return delete(tables.values).where(tables.values.c.quick_test_id.in_(bindparam("ids", expanding=True)))


@lru_cache(maxsize=8)
def _to_insert_series(tables: Tables) -> Insert:
    return insert(tables.series)


def insert_series_and_values(connection: Connection, tables: Tables, runs: Sequence[SeriesAndValues]) -> None:
    """Inserts for runs that have none. Where they have series, their row of digests is there."""
    rows = [
        {"quick_test_id": run.quick_test_id, "digest": run.series.digest, "gzip_json": run.series.gzip_json}
        for run in runs
        if run.series is not None
    ]
    if rows:
        connection.execute(_to_insert_series(tables), rows)
    left = (run for run in runs if run.values)
    while some := list(islice(left, _AT_ONCE)):
        if connection.dialect.name == "sqlite":
            # Past SQLAlchemy's types, which take longer than the database.
            connection.exec_driver_sql(_INSERT_SQLITE, list(_to_rows(some)))
        else:
            connection.execute(_INSERT_POSTGRES, {"runs": _to_json(some)})


def read_series_and_values(connection: Connection, tables: Tables, ids: Sequence[int]) -> dict[int, SeriesAndValues]:
    """Returns what there is, by run id; values in no particular order."""
    series, values = tables.series, tables.values
    full = connection.execute(select(series).where(series.c.quick_test_id.in_(ids)))
    return to_series_and_values(
        list(full), list(connection.execute(select(values).where(values.c.quick_test_id.in_(ids))))
    )


def to_series_and_values(series: Sequence[Row[Any]], values: Sequence[Row[Any]]) -> dict[int, SeriesAndValues]:
    """Reads rows of the two tables, by run id."""
    full = {row.quick_test_id: FullSeries(gzip_json=row.gzip_json, digest=row.digest) for row in series}
    found: dict[int, list[Value]] = {}
    etags: dict[int, str] = {}
    for row in values:
        etags[row.quick_test_id] = row.history_etag  # all values of a run have the same: they are written together
        value = Value(kind=row.kind, name=row.name, number=row.number, text=row.text)
        found.setdefault(row.quick_test_id, []).append(value)
    return {
        id_: SeriesAndValues(id_, etags.get(id_, ""), full.get(id_), found.get(id_, [])) for id_ in full.keys() | found
    }


def _to_rows(runs: Sequence[SeriesAndValues]) -> Iterator[tuple[Any, ...]]:
    """Yields them as `_INSERT_SQLITE` takes them."""
    for run in runs:
        for value in run.values:
            text = value.text
            if text is not None:
                text = to_storable(text)
            yield run.quick_test_id, value.kind, to_storable(value.name), value.number, text, run.etag


def _to_json(runs: Sequence[SeriesAndValues]) -> str:
    """Writes it as `_INSERT_POSTGRES` takes it; each number has the digits that give the same float64 again."""
    return msgspec.json.encode(
        [{"id": run.quick_test_id, "etag": run.etag, "values": [_to_storable(v) for v in run.values]} for run in runs]
    ).decode()


def _to_storable(value: Value) -> dict[str, Any]:
    return {
        "kind": value.kind,
        "name": to_storable(value.name),
        "number": value.number,
        "text": None if value.text is None else to_storable(value.text),
    }
