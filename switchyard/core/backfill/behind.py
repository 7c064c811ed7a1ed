"""Which adopted runs went on in MLflow since they were read, or have ended there, and what their rows say of it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from switchyard.core.backfill.plan import (
    ROW_STATUS,
    Behind,
    How,
    PlannedRun,
    StatusChoice,
    choose_todo,
    is_chosen,
    is_unended,
    to_time,
)
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.mlflow.facts import Look
from switchyard.core.mlflow.raw_run import TrackedRun
from switchyard.core.runs.rows import RowNews, RunStatus


def list_open(rows: Sequence[BackfillRow], how: How, *, status: StatusChoice) -> list[BackfillRow]:
    """Returns the rows of runs that had not ended when they were read, and are not to do anyway.

    MLflow is asked about them.
    """
    return [
        row
        for row in rows
        if row.mlflow_run_id
        and not row.has_job
        and (row.is_partial or is_unended(row))
        and not (is_chosen(row, status) and choose_todo(row, how))
    ]


def find_behind(
    opened: Sequence[BackfillRow],
    looks: Mapping[str, Look],
    how: How,
    *,
    lost_parents: Mapping[int, str],
    known: set[str],
) -> Behind:
    """Returns which rows say less than MLflow does.

    Args:
        opened: of `list_open`.
        looks: what MLflow says of their runs, by MLflow run id; one that is not there any more stays as it is.
        lost_parents: the MLflow run that a nested run is in and that had no row, by the nested run's row.
        known: the MLflow runs that have a row.
    """
    found = {id_: "its parent has a row now" for id_, parent in lost_parents.items() if parent in known}
    for row in opened:
        look = looks.get(row.mlflow_run_id)
        why = _to_why_behind(row, look, how) if look else ""
        if why:
            found[row.id] = why
    return Behind(why=found)


def to_unasked(opened: Sequence[BackfillRow], error: str) -> list[PlannedRun]:
    """Returns the lines of the open rows where MLflow could not be asked."""
    why_not = f"it had not ended when it was last read, and MLflow cannot be asked what became of it: {error}"
    return [
        PlannedRun(
            quick_test_id=row.id,
            mlflow_run_id=row.mlflow_run_id,
            status=row.status,
            why_not=why_not,
            is_unasked=True,
        )
        for row in opened
    ]


def _to_why_behind(row: BackfillRow, look: Look, how: How) -> str:
    status = ROW_STATUS.get(look.info.status)
    if status is None:
        return ""
    news = to_news(look.info, look.newest_ms, how)
    if row.adopted and news is not None and row.status != news.status:
        return news.error or f"MLflow says {look.info.status}"
    if row.published == "nothing":
        return "it has been logged to since" if look.shows != "nothing" else ""
    if status.ended:
        return f"MLflow says {look.info.status}"
    newest = to_time(look.newest_ms)
    return "it has been logged to since" if newest and (row.seen_until is None or newest > row.seen_until) else ""


def to_news(info: TrackedRun, newest_ms: int | None, how: How, *, is_moving: bool = False) -> RowNews | None:
    """Returns what the adopted row of that run is to say now; None: MLflow's status is none that we know.

    A run with a dead process is RUNNING in MLflow for ever: once nothing was logged to it for `stale_after_hours`, its
    row is failed, until it goes on. One that `is_moving` goes on, whatever times its points have: the clock of the
    machine that logs them may be wrong."""
    status = ROW_STATUS.get(info.status)
    if status is None:
        return None
    started_at = to_time(info.started_at_ms)
    news = RowNews(
        status=status,
        display_name=info.name,
        started_at=started_at,
        completed_at=to_time(info.ended_at_ms) if status.ended else None,
    )
    last = max(filter(None, (to_time(newest_ms), started_at)), default=None)
    if status.ended or is_moving or last is None or how.since - last <= timedelta(hours=how.stale_after_hours):
        return news
    error = (
        f"stale: MLflow run {info.run_id} is {info.status} there, but nothing was logged to it since "
        f"{last:%Y-%m-%dT%H:%M:%SZ}, for more than {how.stale_after_hours:g} hours. If it is still at work, run "
        "backfill again with a longer --stale-after-hours"
    )
    return msgspec.structs.replace(news, status=RunStatus.FAILED, error=error, completed_at=last)
