"""Finds histories without series and values, which were published before there were any, and writes these."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Select, delete, func, or_, select

from switchyard.clients.results.rows import Writing, lock_runs, write_lines
from switchyard.clients.results.series import SeriesAndValues, insert_series_and_values
from switchyard.clients.results.tables import Tables, is_history, to_history_etag
from switchyard.core.errors import to_message
from switchyard.core.history.filling import KIND, Fill, FillState, Unfilled
from switchyard.core.history.publication import Digests, Versions

_REPLACED = "its history was replaced while it was filled. Run `switchyard fill` again"


def select_unfilled(tables: Tables) -> Select[Any]:
    """Returns the query for the ids of `core.ports.Ledger.list_unfilled`."""
    runs, published, series = tables.runs, tables.published, tables.series
    lacking: ColumnElement[bool] = series.c.quick_test_id.is_(None)
    if not tables.own:
        # The table's application may have stored a history over ours since: nothing is known of that one.
        theirs = func.replace(tables.history_text, published.c.charted_digest, "") == tables.history_text
        lacking = or_(lacking, theirs)
    return (
        select(runs.c.id)
        .select_from(runs)
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .outerjoin(series, series.c.quick_test_id == runs.c.id)
        .where(tables.has_history, lacking)
        .order_by(runs.c.id)
    )


def select_to_fill(tables: Tables, ids: Sequence[int]) -> Select[Any]:
    """Returns the query for the rows of `core.ports.Ledger.read_unfilled`."""
    runs, published, values = tables.runs, tables.published, tables.values
    of_values = select(func.max(values.c.history_etag)).where(values.c.quick_test_id == runs.c.id).scalar_subquery()
    return (
        select(
            runs.c.id,
            func.coalesce(runs.c.mlflow_run_id, "").label("mlflow_run_id"),
            func.coalesce(runs.c.gcs_artifacts_path, "").label("gcs_artifacts_path"),
            tables.history_text.label("history_text"),
            published.c.charted_digest,
            published.c.full_digest,
            published.c.etag,
            published.c.digest_version,
            published.c.mapping_version,
            published.c.rules,
            of_values.label("values_etag"),
        )
        .select_from(runs)
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .where(runs.c.id.in_(ids), tables.has_history)
        .order_by(runs.c.id)
    )


def to_unfilled(row: Row[Any]) -> Unfilled:
    """Makes the value of a row of `select_to_fill`."""
    text, charted = row.history_text, row.charted_digest
    ours = charted is not None and charted in text
    etag = to_history_etag(text, charted, row.etag)
    found = Unfilled(
        quick_test_id=row.id,
        mlflow_run_id=row.mlflow_run_id,
        gcs_artifacts_path=row.gcs_artifacts_path,
        history_text=text,
        etag=etag,
        has_values=row.values_etag == etag,
    )
    if not ours:
        return found
    versions = Versions(digest=row.digest_version, mapping=row.mapping_version, rules=row.rules)
    return msgspec.structs.replace(found, digests=Digests(charted=charted, full=row.full_digest), versions=versions)


def to_unread(quick_test_id: int, err: Exception) -> Unfilled:
    """Makes the value of a row that cannot be fetched."""
    return Unfilled(quick_test_id=quick_test_id, error=f"its row cannot be read; {to_message(err)}")


def fill_runs(writing: Writing, fills: Sequence[Fill]) -> dict[int, FillState]:
    """Fills as `core.ports.Ledger.fill_many` says."""
    connection, tables = writing.connection, writing.tables
    etags = _lock_etags(writing, [fill.quick_test_id for fill in fills])
    written = [_check(fill, etags.get(fill.quick_test_id, "")) for fill in fills]
    with_series = [fill.quick_test_id for fill in written if fill.series is not None]
    with_values = [fill.quick_test_id for fill in written if fill.values is not None]
    for table, ids in ((tables.series, with_series), (tables.values, with_values)):
        if ids:
            connection.execute(delete(table).where(table.c.quick_test_id.in_(ids)))
    insert_series_and_values(
        connection,
        tables,
        [SeriesAndValues(fill.quick_test_id, fill.etag, fill.series, fill.values or []) for fill in written],
    )
    write_lines(writing, [_to_line(fill, writing.now) for fill in written])
    return {fill.quick_test_id: fill.state for fill in written}


def _lock_etags(writing: Writing, ids: list[int]) -> dict[int, str]:
    """Locks the runs' rows, and returns the etags of the histories that they have now."""
    tables, published = writing.tables, writing.tables.published
    runs = lock_runs(writing.connection, tables, ids)
    rows = writing.connection.execute(
        select(published.c.quick_test_id, published.c.charted_digest, published.c.etag).where(
            published.c.quick_test_id.in_(ids)
        )
    )
    ours = {row.quick_test_id: (row.charted_digest, row.etag) for row in rows}
    return {
        run.id: to_history_etag(run.history_text, *ours.get(run.id, (None, None)))
        for run in runs
        if is_history(run.history_text)
    }


def _check(fill: Fill, etag: str) -> Fill:
    """Returns the fill, or what is left of it where another history is published by now."""
    if fill.state is FillState.FAILED or (fill.series is None and fill.values is None) or fill.etag == etag:
        return fill
    return Fill(quick_test_id=fill.quick_test_id, state=FillState.REPLACED, error=_REPLACED)


def _to_line(fill: Fill, now: datetime) -> dict[str, Any]:
    return {
        "kind": KIND,
        "quick_test_id": fill.quick_test_id,
        "state": str(fill.state),
        "attempts": 1,
        "error": fill.error,
        "source_digest": fill.etag,
        "published_digest": fill.series.digest if fill.series is not None else "",
        "next_try_at": None,
        "updated_at": now,
    }
