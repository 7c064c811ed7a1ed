"""Removes what a launcher keeps of jobs that ended long ago, and old predictions and feedback."""

from datetime import UTC, datetime, timedelta

from switchyard.clients.connect import connect
from switchyard.core.predictions.rows import Pruned
from switchyard.services import pruning
from tasks.policy import effect

_A_TURN = 200
_TRANSACTIONS = 20


@effect
def prune_jobs() -> int:
    """Removes jobs that ended longer than JOB_FOLDERS_DAYS ago, a few in one call; returns how many."""
    outside = connect()
    days = outside.settings.job_folders_days
    if not days:
        return 0
    before = datetime.now(UTC) - timedelta(days=days)
    return pruning.prune_jobs(outside.launcher, outside.runs, outside.ledger, before=before, limit=_A_TURN)


@effect
def prune_predictions() -> Pruned:
    """Removes rows older than PREDICTIONS_DAYS and FEEDBACK_DAYS, some thousands in one call; returns how many."""
    outside = connect()
    return pruning.prune_predictions(
        outside.predictions,
        predictions_days=outside.settings.predictions_days,
        feedback_days=outside.settings.feedback_days,
        now=datetime.now(UTC),
        turns=_TRANSACTIONS,
    )
