"""Whether a request may have another job, as a table."""

from datetime import UTC, datetime
from typing import Any

import pytest

from switchyard.core.runs.claims import TRIES, count_tries, may_claim_again, to_attempts, to_next_parameters
from switchyard.core.runs.jobs import JobState, Reason
from switchyard.core.runs.rows import Job, RunStatus

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def make_job(reason: str, *, state: JobState = JobState.FAILED, **parameters: Any) -> Job:
    return Job(
        quick_test_id=12, attempt=1, key="k", request_key="r", state=state, reason=reason, parameters=parameters,
        claimed_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "attempts", "expected"),
    [
        # no job ever was
        (Reason.REFUSED, 1, True),
        (f"{Reason.REFUSED}: Vertex AI could not submit the job: 403", 1, True),
        (Reason.NEVER_CREATED, 1, True),
        (f"{Reason.NEVER_CREATED}: as rows of older versions say a refusal", 1, True),
        # it may exist
        (Reason.VANISHED, 3, False),
        # another machine may do
        (f"{Reason.PREEMPTED}: Vertex AI's words", 1, False),
        (f"{Reason.PREEMPTED}: Vertex AI's words", 2, True),
        (Reason.CAPACITY, 3, True),
        (Reason.MACHINE_LOST, 3, True),
        (Reason.SUPERVISOR_LOST, 3, True),
        # it would end in the same way
        (Reason.EXITED, 3, False),
        (Reason.KILLED, 3, False),
        (Reason.TIMED_OUT, 3, False),
        (Reason.QUOTA, 3, False),
        (Reason.NEVER_STARTED, 3, False),
        (Reason.NONE, 3, False),
    ],
)
def test_a_request_may_claim_again(reason: str, attempts: int, expected: bool) -> None:
    """What never was a job is claimed again; what a machine ended, as often as was asked for; nothing else."""
    assert may_claim_again(make_job(reason), attempts=attempts) is expected


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.FAILED])
def test_a_job_that_has_not_failed_is_the_request_s_one(state: JobState) -> None:
    """Open, succeeded, cancelled: whatever reason it has."""
    for reason in Reason:
        assert not may_claim_again(make_job(reason, state=state), attempts=9)


@pytest.mark.parametrize("status", list(RunStatus))
def test_a_run_that_somebody_completed_or_cancelled_stays_so(status: RunStatus) -> None:
    """Its request starts nothing more."""
    expected = status not in (RunStatus.COMPLETED, RunStatus.CANCELLED)
    assert may_claim_again(make_job(Reason.REFUSED), status=status) is expected


def test_attempts_are_counted_by_what_was_a_job() -> None:
    """Refused submissions do not use up what was asked for."""
    parameters: dict[str, object] = {"attempts": 2}
    assert to_attempts(parameters) == 2
    assert to_next_parameters(make_job(Reason.REFUSED), parameters) == parameters
    second = to_next_parameters(make_job(Reason.PREEMPTED), parameters)
    assert second == {"attempts": 2, TRIES: 2}
    after = make_job(Reason.PREEMPTED, **dict[str, Any](second))
    assert count_tries(after) == 2
    assert not may_claim_again(after, attempts=2)
    assert may_claim_again(after, attempts=3)
    assert to_next_parameters(make_job(Reason.REFUSED, **dict[str, Any](second)), parameters) == second
