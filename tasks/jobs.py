"""The training jobs, as the launcher runs them."""

from datetime import datetime
from functools import partial

import msgspec
from prefect.runtime import task_run

from clients.connect import connect
from clients.mlflow_job import to_job_variables
from clients.watching import Watch, watch
from history.jobs import JobOrder, JobReport, to_labels
from history.pacing import ON_THIS_MACHINE, ON_VERTEX, Pace
from history.runs import Job
from tasks.policy import effect
from tasks.submissions import is_limited, take_turn

RETRY_TURN_S = 60.0
"""How long a repeated submission waits for its turn: five of them fit in the grace that reconcile gives a claim."""


@effect
def submit_job(job: Job, order: JobOrder) -> JobReport:
    """The one job of `job.key`, started if there is none yet; it bears this database's labels."""
    outside = connect()
    if is_limited() and (task_run.run_count or 1) > 1:
        # The first try's turn was taken by the flow; each further create is one more.
        take_turn(RETRY_TURN_S)
    labels = to_labels(outside.results.read_database_id(), job.quick_test_id, job.attempt)
    return outside.launcher.submit(job.key, msgspec.structs.replace(order, labels=labels))


@effect
def check_tracking() -> dict[str, str]:
    """The variables of a job that logs to MLflow; what is missing for that is told before anything starts."""
    return to_job_variables(connect().settings)


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
    return outside.launcher.list({"switchyard-db": outside.results.read_database_id()}, since)


@effect
def cancel_job(job_name: str) -> None:
    """Asks the job to end."""
    connect().launcher.cancel(job_name)
