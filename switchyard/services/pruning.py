"""Removes what is kept only for a time: jobs that ended long ago, and predictions and feedback.

A job goes only if nothing of its run is left to do.
"""

from datetime import datetime, timedelta
from typing import Final

from switchyard.core.ports import Launcher, Ledger, Predictions, Runs
from switchyard.core.predictions.rows import Pruned

_ROWS: Final = 5_000
"""Rows removed in one transaction, so that no answer waits for long."""


def prune_jobs(launcher: Launcher, runs: Runs, ledger: Ledger, *, before: datetime, limit: int) -> int:
    """Removes jobs that ended before `before`, at most `limit`; returns how many. A second call goes on with others.

    A job stays where its run is unsettled, or its row is gone (the row may come back from a backup)."""
    old = launcher.list_old({"switchyard-db": runs.read_database_id()}, before, limit)
    settled = ledger.list_settled([job.key for job in old]) if old else set()
    return launcher.prune([job.job_name for job in old if job.key in settled])


def prune_predictions(
    predictions: Predictions, *, predictions_days: int, feedback_days: int, now: datetime, turns: int
) -> Pruned:
    """Removes rows older than the given days, and returns how many. 0 days: they are kept for ever.

    It takes at most `turns` transactions for each table. A second call goes on with others."""
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
