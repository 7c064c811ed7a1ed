"""Whose a metrics file is."""

from datetime import UTC, datetime

import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.record import RunIdentity
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.ownership import from_tags, is_of_job, to_tags
from switchyard.core.runs.rows import Job


def make_job(attempt: int) -> Job:
    return Job(
        quick_test_id=12,
        attempt=attempt,
        key=f"key-{attempt}",
        request_key="request",
        state=JobState.SUCCEEDED,
        claimed_at=datetime(2026, 1, 15, tzinfo=UTC),
    )


def make_identity(attempt: int, *, quick_test_id: int = 12, key: str = "") -> RunIdentity:
    return RunIdentity(quick_test_id=quick_test_id, key=key or f"key-{attempt}", attempt=attempt, restart=0)


@pytest.mark.parametrize(
    ("identity", "job", "own"),
    [
        (make_identity(2), make_job(2), True),
        (make_identity(1), make_job(2), False),
        (make_identity(1), None, True),
        (None, make_job(1), True),
    ],
)
def test_a_file_of_the_run(identity: RunIdentity | None, job: Job | None, own: bool) -> None:
    """The newest job's own file is read; an earlier attempt's is not taken for it."""
    assert is_of_job(identity, 12, job, where="file") is own


@pytest.mark.parametrize(
    ("identity", "problem"),
    [
        (make_identity(1, quick_test_id=13), "`run.quick_test_id` must be 12; got 13"),
        (make_identity(1, key="other"), "`run.key` must be 'key-1'"),
        (make_identity(2), "got 'key-2' of attempt 2"),
    ],
)
def test_another_run_s_file_is_refused(identity: RunIdentity, problem: str) -> None:
    """The message says what was expected and what the file says."""
    with pytest.raises(BadRecord, match="another run's: nothing") as refused:
        is_of_job(identity, 12, make_job(1), where="file")
    assert problem in str(refused.value)


def test_tags_of_an_mlflow_run_say_whose_it_is() -> None:
    """What the trainer tags its MLflow run with is read back."""
    identity = make_identity(2)
    assert from_tags({"mlflow.user": "trainer", **to_tags(identity)}) == identity


@pytest.mark.parametrize(
    "changes",
    [
        {"switchyard.key": ""},
        {"switchyard.attempt": "-1"},
        {"switchyard.attempt": "two"},
        {"switchyard.restart": "²"},
        {"switchyard.quick_test_id": "9" * 19},
        {"switchyard.attempt": "2147483648"},
    ],
)
def test_tags_that_are_no_identity_are_none(changes: dict[str, str]) -> None:
    """Anyone may tag a run with anything."""
    assert from_tags(to_tags(make_identity(2)) | changes) is None
    assert from_tags({}) is None
