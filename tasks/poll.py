"""Poll: the training jobs, as the launcher sees them now."""

from datetime import datetime
from functools import partial

from switchyard.clients.connect import connect
from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.pacing import ON_THIS_MACHINE, ON_VERTEX, Look, Pace
from switchyard.services.watching import Watch, watch
from tasks.policy import effect


@effect
def read_job_report(job_name: str) -> JobReport | None:
    """The job as its launcher sees it now; None: the launcher does not know it."""
    return connect().launcher.report([job_name]).get(job_name)


@partial(effect, retries=0)  # a launcher that is away is outlasted within: tried again, it would be six times as long
def watch_job(job_name: str, seen: JobReport | None, look: Look) -> JobReport | None:
    """The job as soon as there is news of it, or as it is after `look.for_s` seconds. None: the launcher does not know
    it."""
    outside = connect()
    pace = Pace(floor_s=look.interval_s, cap_s=look.interval_s)
    if not look.interval_s:
        pace = ON_VERTEX if outside.settings.training_backend == "vertex" else ON_THIS_MACHINE
    return watch(outside.launcher, job_name, seen, Watch(pace=pace, look=look))


@effect
def list_jobs(since: datetime) -> list[JobReport]:
    """This database's jobs, in any state, created at or after `since`; one call."""
    outside = connect()
    return outside.launcher.list({"switchyard-db": outside.runs.read_database_id()}, since)


@effect
def cancel_job(job_name: str) -> None:
    """Asks the job to end."""
    connect().launcher.cancel(job_name)
