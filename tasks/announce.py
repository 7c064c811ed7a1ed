"""Sends the events of a job's end and of a completed run: hints to a program that wants to act at once.

Reconcile does not depend on them, and sends the second one if it was not sent.
"""

from datetime import UTC, datetime

from switchyard.clients.connect import connect
from switchyard.core.runs.rows import Job, QuickTest
from switchyard.services import announcing
from tasks.policy import effect


@effect
def announce_end(job: Job) -> bool:
    """Returns True for the one call in a job's life that emitted its event."""
    sent = announcing.announce_end(connect().jobs, job, now=datetime.now(UTC))
    return sent is announcing.Announcement.SENT


@effect
def announce_completed(run: QuickTest, job: Job | None) -> bool:
    """Returns True if a Prefect server took the event."""
    outside = connect()
    return announcing.announce_completed(outside.runs, outside.jobs, run, job, now=datetime.now(UTC))
