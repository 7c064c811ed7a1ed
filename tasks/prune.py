"""Prune: what a launcher keeps of jobs that ended long ago."""

from datetime import UTC, datetime, timedelta

from switchyard.clients.connect import connect
from switchyard.services import pruning
from tasks.policy import effect

_A_TURN = 200


@effect
def prune_jobs() -> int:
    """How many jobs were removed of those that ended longer than JOB_FOLDERS_DAYS ago; a few in one call."""
    outside = connect()
    days = outside.settings.job_folders_days
    if not days:
        return 0
    before = datetime.now(UTC) - timedelta(days=days)
    return pruning.prune_jobs(outside.launcher, outside.runs, outside.ledger, before=before, limit=_A_TURN)
