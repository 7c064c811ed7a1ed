"""Whether a request that has had a job may claim another one: decided from the job's row, the same in every process."""

from collections.abc import Mapping
from typing import Final

from switchyard.core.runs.jobs import JobState, Reason, read_reason
from switchyard.core.runs.rows import Job, RunStatus

TRIES: Final = "request_tries"
"""Among a job's stored parameters: how many jobs its request has had, itself included. Without it: one."""

# No job ever was: nothing was paid for, and nothing is there that could still train.
_NEVER_A_JOB: Final = (Reason.REFUSED, Reason.NEVER_CREATED)
# Another machine may well finish what this one could not. Whatever else ended a training would end the next one too.
_WORTH_ANOTHER: Final = (Reason.PREEMPTED, Reason.CAPACITY, Reason.MACHINE_LOST, Reason.SUPERVISOR_LOST)


def may_claim_again(job: Job, *, attempts: int = 1, status: RunStatus = RunStatus.FAILED) -> bool:
    """Returns True if the request of `job`, its newest, may claim the run's next attempt.

    A job that may exist is never claimed again; one that was called gone is looked for instead. `attempts`: how many
    jobs the request may have. `status`: the run's; one that is completed or cancelled stays so.
    """
    if job.state is not JobState.FAILED or status in (RunStatus.COMPLETED, RunStatus.CANCELLED):
        return False
    reason = read_reason(job.reason)
    return reason in _NEVER_A_JOB or (reason in _WORTH_ANOTHER and count_tries(job) < attempts)


def count_tries(job: Job) -> int:
    """Returns how many jobs its request has had, this one included, but for those that never were a job."""
    tries = job.parameters.get(TRIES, 1)
    return tries if isinstance(tries, int) else 1


def to_next_parameters(job: Job, parameters: Mapping[str, object]) -> dict[str, object]:
    """Returns the `parameters` of the request's next claim, after `job`."""
    tries = count_tries(job) + (read_reason(job.reason) not in _NEVER_A_JOB)
    return {**parameters, TRIES: tries} if tries > 1 else dict(parameters)


def to_attempts(parameters: Mapping[str, object]) -> int:
    """Returns how many jobs the parameters of a request allow it."""
    attempts = parameters.get("attempts", 1)
    return attempts if isinstance(attempts, int) else 1


def to_earlier_key(request_key: str, attempt: int) -> str:
    """Returns the request key that an earlier attempt's row has from then on: the request's own is the newest one's."""
    return f"{request_key}#attempt-{attempt}"
