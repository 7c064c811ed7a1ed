"""Poll: the training jobs, as the launcher sees them now."""

from datetime import datetime
from functools import partial

from switchyard.clients.connect import connect
from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.missing import Missing
from switchyard.core.runs.pacing import ON_THIS_MACHINE, ON_VERTEX, Look, Pace
from switchyard.core.runs.rows import Job
from switchyard.services.watching import Watch, look_for, watch
from tasks.policy import effect


@effect
def find_job(job: Job, by_name: bool = True, by_key: bool = True) -> JobReport | None:
    """The job as its launcher shows it now, by its name, else by its key; None: this look does not show it."""
    return look_for(connect().launcher, job, by_name=by_name, by_key=by_key)


@partial(effect, retries=0)  # a launcher that is away is outlasted within: tried again, it would be six times as long
def watch_job(job: Job, seen: JobReport | None, look: Look) -> JobReport | Missing:
    """The job as soon as there is news of it, or as it is after `look.for_s` seconds. Missing: many looks, for a
    minute, did not show it."""
    outside = connect()
    pace = Pace(floor_s=look.interval_s, cap_s=look.interval_s)
    if not look.interval_s:
        pace = ON_VERTEX if outside.settings.training_backend == "vertex" else ON_THIS_MACHINE
    return watch(outside.launcher, job, seen, Watch(pace=pace, look=look))


@effect
def list_jobs(since: datetime) -> list[JobReport]:
    """This database's jobs, in any state, created at or after `since`; one call."""
    outside = connect()
    return outside.launcher.list({"switchyard-db": outside.runs.read_database_id()}, since)


@effect
def cancel_job(job_name: str) -> None:
    """Asks the job to end."""
    connect().launcher.cancel(job_name)
