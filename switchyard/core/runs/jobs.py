"""What is known of a training job: few states that decide, many reasons that only report."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from switchyard.core.runs.machine import MachineSpec

KEY_LABEL: Final = "switchyard-key"
"""The label by which a job is found again; its value is the submission key."""


class JobState(StrEnum):
    """The state of a job. Code branches on these and on nothing else of a job."""

    CLAIMED = "claimed"  # our row says that a job may be created; no job has been seen yet
    QUEUED = "queued"  # the job exists and waits for a machine
    RUNNING = "running"  # its main has started, and may still be running while it is being cancelled
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True for a state that no job leaves again."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Reason(StrEnum):
    """Why a job is in its state, for people. A launcher may add detail in `JobReport.message`."""

    NONE = ""
    EXITED = "the training process exited"
    KILLED = "the training process was killed"
    TIMED_OUT = "the job ran past its timeout"
    CANCEL_ASKED = "somebody asked to cancel it"
    NEVER_STARTED = "the job ended before its training process started"
    NEVER_CREATED = "the submission was interrupted before a job was created"
    REFUSED = "the submission was refused, and no job was created"
    VANISHED = "the job is gone from the place it ran in"
    SUPERVISOR_LOST = "the process that watched the training was killed"
    MACHINE_LOST = "Google Cloud lost the machine, or had an internal error"
    CAPACITY = "no machine of that kind is free"
    QUOTA = "a quota of the project is used up"
    PREEMPTED = "the machine was taken away"


def read_reason(text: str) -> Reason:
    """Returns the reason that a stored text begins with; what follows it is the launcher's own words.

    >>> read_reason("the machine was taken away: preempted")
    <Reason.PREEMPTED: 'the machine was taken away'>
    >>> read_reason("of another version")
    <Reason.NONE: ''>
    """
    found = [reason for reason in Reason if text == reason or text.startswith(f"{reason}: ")]
    return found[0] if found else Reason.NONE


class Progress(msgspec.Struct, frozen=True):
    """How far a training is: `epochs_done` of `epochs_asked`, and the loss of the last epoch done (None: not known)."""

    epochs_done: int
    epochs_asked: int
    loss: float | None = None


class JobOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a launcher needs to start one job.

    `arguments` are the trainer's flags, and `variables` are added to its environment; no secret is ever among them.
    """

    display_name: str
    arguments: list[str]
    labels: dict[str, str]  # Google Cloud's rules: lowercase letters, digits, `_`, `-`; 63 characters at most
    timeout_s: int
    image: str = ""
    machine: MachineSpec | None = None  # what to run it on; None: the launcher's defaults. This machine ignores it
    variables: dict[str, str] = {}
    base_output_uri: str = ""  # below it the platform names the model's and the checkpoints' folders (AIP_*)


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """One job as its launcher sees it now.

    With a `problem` the launcher cannot see how it is: `state` then says only that it is not known to have ended, and
    nothing may be decided from it.
    """

    job_name: str  # the launcher's own name for it: a folder, or a Vertex resource name
    key: str
    state: JobState
    reason: Reason = Reason.NONE
    message: str = ""  # the launcher's own words: exit status, Vertex's error
    log_uri: str = ""  # where a person reads the log
    page_uri: str = ""  # where a person sees the job itself; empty: the launcher has no such page
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: Progress | None = None
    problem: str = ""


def to_submission_key(database_id: str, quick_test_id: int, attempt: int) -> str:
    """Returns the key of one attempt at one run: 32 hex digits, a legal label.

    It is the same for every call with the same three values.
    """
    return hashlib.sha256(f"{database_id}/{quick_test_id}/{attempt}".encode()).hexdigest()[:32]


def to_labels(database_id: str, quick_test_id: int, attempt: int) -> dict[str, str]:
    """Returns the labels by which a job is found again.

    ``switchyard-db`` tells the jobs of one database from another's.
    """
    return {
        "switchyard-db": database_id,
        KEY_LABEL: to_submission_key(database_id, quick_test_id, attempt),
        "switchyard-quick-test": str(quick_test_id),
        "switchyard-attempt": str(attempt),
    }
