"""Poll: the training jobs, as the launcher sees them now."""

from datetime import datetime
from functools import partial

from switchyard.clients.connect import connect
from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.pacing import ON_THIS_MACHINE, ON_VERTEX, Pace
from switchyard.services.watching import Watch, watch
from tasks.policy import effect


@effect
def read_job_report(job_name: str) -> JobReport | None:
    """The job as its launcher sees it now; None: the launcher does not know it."""
    return connect().launcher.report([job_name]).get(job_name)


@partial(effect, retries=0)  # a launcher that is away is outlasted within: tried again, it would be six times as long
def watch_job(
    job_name: str, seen: JobReport | None, interval_s: float, waited_s: float, hold_s: float, for_s: float
) -> JobReport | None:
    """The job as soon as there is news of it, or as it is after `for_s` seconds; `interval_s` 0: at the backend's own
    pace. None: the launcher does not know it."""
    outside = connect()
    pace = Pace(floor_s=interval_s, cap_s=interval_s)
    if not interval_s:
        pace = ON_VERTEX if outside.settings.training_backend == "vertex" else ON_THIS_MACHINE
    how = Watch(pace=pace, waited_s=waited_s, hold_s=hold_s, for_s=for_s)
    return watch(outside.launcher, job_name, seen, how)


@effect
def list_jobs(since: datetime) -> list[JobReport]:
    """This database's jobs, in any state, created at or after `since`; one call."""
    outside = connect()
    return outside.launcher.list({"switchyard-db": outside.runs.read_database_id()}, since)


@effect
def cancel_job(job_name: str) -> None:
    """Asks the job to end."""
    connect().launcher.cancel(job_name)
