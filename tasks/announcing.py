"""The job-ended event: a hint to whoever wants to act at once. Reconcile does not depend on it."""

from datetime import UTC, datetime

from clients.connect import connect
from clients.prefect_events import emit_job_ended
from history.runs import Job
from tasks.policy import effect


@effect
def announce_end(job: Job) -> bool:
    """True for the one call in a job's life that emitted its event. Killed between claim and emission, the event is
    lost: never twice is worth more here than at least once, for reconcile does all that an event could start."""
    if not connect().results.claim_ended_event(job.key, now=datetime.now(UTC)):
        return False
    return emit_job_ended(job)
