"""The job-ended event: a hint to whoever wants to act at once. Reconcile does not depend on it."""

from datetime import UTC, datetime

from switchyard.clients.connect import connect
from switchyard.core.runs.rows import Job
from switchyard.services import announcing
from tasks.policy import effect


@effect
def announce_end(job: Job) -> bool:
    """True for the one call in a job's life that emitted its event."""
    sent = announcing.announce_end(connect().jobs, job, now=datetime.now(UTC))
    return sent is announcing.Announcement.SENT
