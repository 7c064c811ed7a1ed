"""The training jobs, as the launcher runs them."""

import time
from datetime import datetime

import msgspec

from clients.connect import connect
from history.jobs import JobOrder, JobReport, to_labels
from history.runs import Job
from tasks.policy import effect


@effect
def submit_job(job: Job, order: JobOrder) -> JobReport:
    """The one job of `job.key`, started if there is none yet; it bears this database's labels."""
    outside = connect()
    labels = to_labels(outside.results.read_database_id(), job.quick_test_id, job.attempt)
    return outside.launcher.submit(job.key, msgspec.structs.replace(order, labels=labels))


@effect
def read_job_report(job_name: str) -> JobReport | None:
    """The job as its launcher sees it now; None: the launcher does not know it."""
    return connect().launcher.report([job_name]).get(job_name)


@effect
def watch_job(
    job_name: str, seen: JobReport | None, interval_s: float, hold_s: float, for_s: float
) -> JobReport | None:
    """The job as soon as its state is not `seen`'s; or once its progress is not, but no sooner than after `hold_s`
    seconds; or as it is after `for_s` seconds. None: the launcher does not know it.

    One task run looks many times: a task run a look would cost Prefect's server more than the training's own loop.
    """
    started = time.monotonic()
    while True:
        report = connect().launcher.report([job_name]).get(job_name)
        if report is None or seen is None or report.state is not seen.state:
            return report
        waited_s = time.monotonic() - started
        if waited_s >= for_s or (waited_s >= hold_s and report.progress != seen.progress):
            return report
        time.sleep(interval_s)


@effect
def list_jobs(since: datetime) -> list[JobReport]:
    """This database's jobs, in any state, created at or after `since`; one call."""
    outside = connect()
    return outside.launcher.list({"switchyard-db": outside.results.read_database_id()}, since)


@effect
def cancel_job(job_name: str) -> None:
    """Asks the job to end."""
    connect().launcher.cancel(job_name)
