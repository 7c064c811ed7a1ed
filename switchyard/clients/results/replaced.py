"""Keeps histories that were replaced by force, or because their MLflow run has changed; `recover` puts them back."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, Text, bindparam, delete, func, insert, select, update

from switchyard.clients.results.rows import Writing, lock_run
from switchyard.clients.results.series import (
    SeriesAndValues,
    delete_series_and_values,
    insert_series_and_values,
    read_series_and_values,
)
from switchyard.clients.results.tables import is_history
from switchyard.core.history.publication import FIRST_VERSIONS, FullSeries, HistogramRow, Value

RECOVERED: Final = "replaced by a recovery"
CHANGED: Final = "replaced by what its MLflow run says now"
CHANGES_KEPT: Final = 3
"""How many of a run are kept, the newest: a run that is logged to every day must not keep one for each day."""


class _Published(msgspec.Struct, kw_only=True):
    """A row of `switchyard_published`, as JSON keeps it."""

    charted_digest: str
    full_digest: str | None
    series_digests: str
    etag: str
    status: str
    rank_attempt: int
    rank_restart: int
    rank_epochs: int
    rank_status: int
    cached_at: datetime
    published_at: datetime
    # Missing in a history that was replaced before there were versions.
    digest_version: int = FIRST_VERSIONS.digest
    mapping_version: int = FIRST_VERSIONS.mapping
    rules: str = FIRST_VERSIONS.rules


class _Values(msgspec.Struct, kw_only=True):
    """A run's values, as JSON keeps them."""

    history_etag: str
    values: list[Value]


def keep_replaced(writing: Writing, runs: Sequence[Row[Any]], *, reason: str) -> None:
    """Copies what is published of `runs` before it is overwritten. Their rows are locked and have `history_text`."""
    if not runs:
        return
    connection, tables = writing.connection, writing.tables
    ids = [run.id for run in runs]
    published, histograms = tables.published, tables.histograms
    digests = {row.quick_test_id: row for row in connection.execute(_of(published, ids))}
    kept: dict[int, list[HistogramRow]] = {}
    for row in connection.execute(_of(histograms, ids).order_by(histograms.c.kind, histograms.c.tower)):
        kept.setdefault(row.quick_test_id, []).append(
            HistogramRow(kind=row.kind, tower=row.tower, gzip_json=row.gzip_json)
        )
    more = read_series_and_values(connection, tables, ids)
    connection.execute(
        insert(tables.replaced),
        [
            {
                "quick_test_id": run.id,
                "replaced_at": writing.now,
                "reason": reason,
                "history_text": run.history_text,
                "published": _encode(_to_published(digests[run.id])) if run.id in digests else None,
                "histograms": _encode(kept.get(run.id, [])),
                **_to_more(more.get(run.id)),
            }
            for run in runs
        ],
    )


def forget_replaced(writing: Writing, quick_test_ids: Sequence[int], *, reason: str, kept: int) -> None:
    """Deletes what was kept of each run for `reason`, except the newest `kept`. A second call does nothing."""
    if not quick_test_ids:
        return
    replaced = writing.tables.replaced
    age = func.row_number().over(partition_by=replaced.c.quick_test_id, order_by=replaced.c.id.desc()).label("age")
    chosen = replaced.c.quick_test_id.in_(quick_test_ids) & (replaced.c.reason == reason)
    aged = select(replaced.c.id, age).where(chosen).subquery()
    writing.connection.execute(delete(replaced).where(replaced.c.id.in_(select(aged.c.id).where(aged.c.age > kept))))


def recover(writing: Writing, quick_test_id: int, replaced_id: int) -> bool:
    """Recovers as `core.ports.Histories.recover` says."""
    connection, tables = writing.connection, writing.tables
    runs, replaced = tables.runs, tables.replaced
    run = lock_run(connection, tables, quick_test_id, tables.history_text.label("history_text"))
    wanted = (replaced.c.id == replaced_id) & (replaced.c.quick_test_id == quick_test_id)
    found = connection.execute(select(replaced).where(wanted)).one_or_none()
    if found is None:
        return False
    keep_replaced(writing, [run] if is_history(run.history_text) else [], reason=RECOVERED)
    connection.execute(delete(replaced).where(wanted))
    connection.execute(
        update(runs)
        .where(runs.c.id == quick_test_id)
        .values(training_history_json=tables.to_history(bindparam("history", found.history_text, type_=Text)))
    )
    delete_series_and_values(connection, tables, [quick_test_id])
    for table in (tables.histograms, tables.published):
        connection.execute(delete(table).where(table.c.quick_test_id == quick_test_id))
    if found.published is not None:
        values = msgspec.structs.asdict(msgspec.json.decode(found.published, type=_Published))
        connection.execute(insert(tables.published).values(quick_test_id=quick_test_id, **values))
    rows = msgspec.json.decode(found.histograms, type=list[HistogramRow])
    if rows:
        connection.execute(
            insert(tables.histograms), [{"quick_test_id": quick_test_id, **msgspec.structs.asdict(row)} for row in rows]
        )
    insert_series_and_values(connection, tables, [_from_more(quick_test_id, found)])
    return True


def _to_more(found: SeriesAndValues | None) -> dict[str, str | None]:
    """Returns the two columns that hold them."""
    if found is None:
        return {"series": None, "run_values": None}
    # In one order, whatever the database answers in: then what is kept of the same history is the same.
    ordered = sorted(found.values, key=lambda value: (value.kind, value.name, value.text or "", repr(value.number)))
    values = _Values(history_etag=found.etag, values=ordered)
    return {
        "series": _encode(found.series) if found.series is not None else None,
        "run_values": _encode(values) if found.values else None,
    }


def _from_more(quick_test_id: int, row: Row[Any]) -> SeriesAndValues:
    """Reads series and values. They are NULL for a history that was replaced before there were any."""
    series = msgspec.json.decode(row.series, type=FullSeries) if row.series is not None else None
    if row.run_values is None:
        return SeriesAndValues(quick_test_id, "", series, [])
    values = msgspec.json.decode(row.run_values, type=_Values)
    return SeriesAndValues(quick_test_id, values.history_etag, series, values.values)


def _of(table: Any, ids: list[int]) -> Any:
    return select(table).where(table.c.quick_test_id.in_(ids))


def _to_published(row: Row[Any]) -> _Published:
    return _Published(**{name: getattr(row, name) for name in _Published.__struct_fields__})


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
