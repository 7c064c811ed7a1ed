"""Removing what a launcher keeps of jobs that ended long ago, where nothing of their runs is left to do."""

from datetime import datetime

from switchyard.core.ports import Launcher, Ledger, Runs


def prune_jobs(launcher: Launcher, runs: Runs, ledger: Ledger, *, before: datetime, limit: int) -> int:
    """How many jobs that ended before `before` were removed, `limit` at most; never one of a run that is unsettled, or
    whose row is gone (it may come back from a backup). A second call goes on with others."""
    old = launcher.list_old({"switchyard-db": runs.read_database_id()}, before, limit)
    settled = ledger.list_settled([job.key for job in old]) if old else set()
    return launcher.prune([job.job_name for job in old if job.key in settled])
