"""What the results database keeps of runs, read for a comparison: histories, digests, histograms, a batch at once."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, exists, func, select

from switchyard.clients.results.rows import OPEN_STATES
from switchyard.clients.results.tables import Tables, is_history
from switchyard.core.history.publication import Digests, HistogramRow
from switchyard.core.verify.kept_run import KeptRun


def select_kept(tables: Tables, ids: Sequence[int]) -> Select[Any]:
    """The rows of `ids`, by id, with our row of digests beside each."""
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
            published.c.cached_at,
            tables.history_text.label("history_text"),
        )
        .select_from(runs)
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .where(runs.c.id.in_(ids))
        .order_by(runs.c.id)
    )


def select_kept_histograms(tables: Tables, ids: Sequence[int]) -> Select[Any]:
    """All histograms of `ids`."""
    histograms = tables.histograms
    return select(histograms).where(histograms.c.quick_test_id.in_(ids))


def to_kept(tables: Tables, rows: Sequence[Row[Any]], histograms: Sequence[Row[Any]]) -> list[KeptRun]:
    """From the rows of the two queries."""
    by_run: dict[int, list[HistogramRow]] = {}
    for row in histograms:
        found = HistogramRow(kind=row.kind, tower=row.tower, gzip_json=row.gzip_json)
        by_run.setdefault(row.quick_test_id, []).append(found)
    return [
        KeptRun(
            quick_test_id=row.id,
            mlflow_run_id=row.mlflow_run_id,
            gcs_artifacts_path=row.gcs_artifacts_path,
            is_at_work=row.is_at_work,
            history_text=row.history_text if is_history(row.history_text) else None,
            digests=_to_digests(row) if row.charted_digest is not None else None,
            cached_at=row.cached_at,
            histograms=by_run.get(row.id, []),
            takes_nul=tables.history_type != "jsonb",
        )
        for row in rows
    ]


def _to_digests(row: Row[Any]) -> Digests:
    """Text that is no JSON object, which only damage can make of it, has no digests in it: each will be missed."""
    try:
        series = msgspec.json.decode(row.series_digests, type=dict[str, str])
    except msgspec.DecodeError:
        series = {}
    return Digests(charted=row.charted_digest, full=row.full_digest, series=series)
