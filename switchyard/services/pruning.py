"""Removing what is kept for a time only: of jobs that ended long ago, where nothing of their runs is left to do, and of
predictions and feedback."""

from datetime import datetime, timedelta
from typing import Final

from switchyard.core.ports import Launcher, Ledger, Predictions, Runs
from switchyard.core.predictions.rows import Pruned

_ROWS: Final = 5_000
"""Removed in one transaction, so that no answer waits for long."""


def prune_jobs(launcher: Launcher, runs: Runs, ledger: Ledger, *, before: datetime, limit: int) -> int:
    """How many jobs that ended before `before` were removed, `limit` at most; never one of a run that is unsettled, or
    whose row is gone (it may come back from a backup). A second call goes on with others."""
    old = launcher.list_old({"switchyard-db": runs.read_database_id()}, before, limit)
    settled = ledger.list_settled([job.key for job in old]) if old else set()
    return launcher.prune([job.job_name for job in old if job.key in settled])


def prune_predictions(
    predictions: Predictions, *, predictions_days: int, feedback_days: int, now: datetime, turns: int
) -> Pruned:
    """How many rows older than so many days were removed (0 days: they are kept for ever), in `turns` transactions of
    each table at most. A second call goes on with others."""
    removed = Pruned(predictions=0, feedback=0)
    for _ in range(turns):
        turn = predictions.prune(
            predictions_before=_to_bound(now, predictions_days),
            feedback_before=_to_bound(now, feedback_days),
            limit=_ROWS,
        )
        removed = Pruned(predictions=removed.predictions + turn.predictions, feedback=removed.feedback + turn.feedback)
        if max(turn.predictions, turn.feedback) < _ROWS:
            break
    return removed


def _to_bound(now: datetime, days: int) -> datetime | None:
    return now - timedelta(days=days) if days else None
