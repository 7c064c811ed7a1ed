"""Why a training failed: its own words come first, once."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.own_words import read_own_words, to_end_error
from switchyard.core.runs.rows import Job

WHY = "no column customer_id"


def make_job(reason: str = "", log_uri: str = "") -> Job:
    return Job(
        quick_test_id=12,
        attempt=1,
        key="k1",
        request_key="r",
        state=JobState.FAILED,
        reason=reason,
        log_uri=log_uri,
        claimed_at=datetime(2026, 1, 15, tzinfo=UTC),
    )


def to_ended(**changes: Any) -> bytes:
    ended = {"status": "failed", "exit": 1, "message": WHY, "run": {"quick_test_id": 12, "key": "k1"}}
    return json.dumps(ended | changes).encode()


def test_a_failed_training_says_why() -> None:
    """As it stands in its ended.json."""
    assert read_own_words(to_ended(), make_job()) == WHY
    assert read_own_words(to_ended(params={"epochs": 3}), make_job()) == WHY


@pytest.mark.parametrize(
    "ended",
    [
        to_ended(status="completed"),
        to_ended(run={"key": "another attempt's"}),
        to_ended(run={}),
        to_ended(message=5),
        b"",
        b"[]",
        b"\xff",
        b'{"message": ' + b"[" * 2_000 + b"]" * 2_000 + b"}",
    ],
)
def test_what_is_not_this_jobs_says_nothing(ended: bytes) -> None:
    """Damaged, of another attempt, or of a training that did not fail: the end is told without it."""
    assert read_own_words(ended, make_job()) == ""


@pytest.mark.parametrize(
    "reason",
    [
        f"the training process exited: {WHY}; exit status 1",
        f"the training process exited: exit status 1; its log ends: {WHY}",  # as it is on older rows
        "the training process exited: exit status 1",
    ],
)
def test_the_reason_comes_first_and_once(reason: str) -> None:
    """Whether or not the launcher has read the log; then what it saw, what became of the files, and the log."""
    error = to_end_error("nothing was written", make_job(reason, "file:///log"), WHY)
    assert error == f"{WHY}; the training process exited: exit status 1; nothing was written; its log: file:///log"


def test_without_words_of_its_own_the_launchers_come_first() -> None:
    """Killed, say: no one could write anything."""
    error = to_end_error("nothing was written", make_job("the training process was killed: ended by signal 9"), "")
    assert error == "the training process was killed: ended by signal 9; nothing was written"
