"""Reads what the results database keeps of runs, a batch at once, for a comparison.

That is histories, digests, histograms, full series, values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, exists, func, select

from switchyard.clients.results.rows import OPEN_STATES
from switchyard.clients.results.series import SeriesAndValues
from switchyard.clients.results.tables import Tables, is_history, to_history_etag
from switchyard.core.history.publication import FIRST_VERSIONS, Digests, HistogramRow, Versions
from switchyard.core.verify.kept_run import KeptRun


def select_kept(tables: Tables, ids: Sequence[int]) -> Select[Any]:
    """Selects the rows of `ids`, by id, with our row of digests beside each."""
    runs, published, jobs = tables.runs, tables.published, tables.jobs
    at_work = exists().where(jobs.c.quick_test_id == runs.c.id, jobs.c.state.in_(OPEN_STATES))
    return (
        select(
            runs.c.id,
            func.coalesce(runs.c.mlflow_run_id, "").label("mlflow_run_id"),
            func.coalesce(runs.c.gcs_artifacts_path, "").label("gcs_artifacts_path"),
            at_work.label("is_at_work"),
            published.c.charted_digest,
            published.c.full_digest,
            published.c.series_digests,
            published.c.etag,
            published.c.cached_at,
            published.c.digest_version,
            published.c.mapping_version,
            published.c.rules,
            tables.history_text.label("history_text"),
        )
        .select_from(runs)
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .where(runs.c.id.in_(ids))
        .order_by(runs.c.id)
    )


def select_kept_more(tables: Tables, ids: Sequence[int]) -> list[Select[Any]]:
    """Selects all histograms, full series and values of `ids`."""
    return [
        select(table).where(table.c.quick_test_id.in_(ids))
        for table in (tables.histograms, tables.series, tables.values)
    ]


def to_kept(
    tables: Tables, rows: Sequence[Row[Any]], histograms: Sequence[Row[Any]], more: Mapping[int, SeriesAndValues]
) -> list[KeptRun]:
    """Makes the kept runs of the rows of the queries."""
    by_run: dict[int, list[HistogramRow]] = {}
    for row in histograms:
        found = HistogramRow(kind=row.kind, tower=row.tower, gzip_json=row.gzip_json)
        by_run.setdefault(row.quick_test_id, []).append(found)
    return [_to_kept_run(tables, row, by_run.get(row.id, []), more.get(row.id)) for row in rows]


def _to_kept_run(
    tables: Tables, row: Row[Any], histograms: list[HistogramRow], more: SeriesAndValues | None
) -> KeptRun:
    text = row.history_text if is_history(row.history_text) else None
    return KeptRun(
        quick_test_id=row.id,
        mlflow_run_id=row.mlflow_run_id,
        gcs_artifacts_path=row.gcs_artifacts_path,
        is_at_work=row.is_at_work,
        history_text=text,
        etag="" if text is None else to_history_etag(text, row.charted_digest, row.etag),
        digests=_to_digests(row) if row.charted_digest is not None else None,
        versions=Versions(digest=row.digest_version, mapping=row.mapping_version, rules=row.rules)
        if row.charted_digest is not None
        else FIRST_VERSIONS,
        cached_at=row.cached_at,
        histograms=histograms,
        series=more.series if more else None,
        values=list(more.values) if more else [],
        values_etag=more.etag if more else "",
        takes_nul=tables.history_type != "jsonb",
    )


def _to_digests(row: Row[Any]) -> Digests:
    """Reads the digests. Text that is not a JSON object, which only damage can cause, has none: each will be missed."""
    try:
        series = msgspec.json.decode(row.series_digests, type=dict[str, str])
    except msgspec.DecodeError:
        series = {}
    return Digests(charted=row.charted_digest, full=row.full_digest, series=series)
