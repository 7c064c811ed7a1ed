"""A job's state as its launcher reports it, written on its row; and its end, told to Prefect once.

Tasks and serving both do this: what differs is only who noticed.
"""

from datetime import datetime
from enum import Enum, auto

from switchyard.clients.prefect.events import emit_job_ended
from switchyard.core.ports import Jobs
from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.rows import Job, JobNews


class Announcement(Enum):
    """What one call of `announce_end` did."""

    SENT = auto()
    SENT_BEFORE = auto()  # somebody had claimed the event: it was sent, or lost, once
    LOST = auto()  # claimed by this call, and no Prefect server took it


def record_report(jobs: Jobs, key: str, report: JobReport, *, now: datetime) -> Job:
    """The job's row after `report` was written on it. A second call changes nothing."""
    news = JobNews(
        state=report.state,
        job_name=report.job_name,
        reason=": ".join(filter(None, (report.reason, report.message))),
        log_uri=report.log_uri,
        started_at=report.started_at,
    )
    return jobs.record_job(key, news, now=now)


def announce_end(jobs: Jobs, job: Job, *, now: datetime) -> Announcement:
    """Emits the event of `job`'s end, unless somebody has; of all calls in a job's life one answers SENT or LOST.

    Killed between claim and emission, the event is lost: never twice is worth more here than at least once, for
    reconcile does all that an event could start.
    """
    if not jobs.claim_ended_event(job.key, now=now):
        return Announcement.SENT_BEFORE
    return Announcement.SENT if emit_job_ended(job) else Announcement.LOST
