"""What the results database holds of a run: plain values, as flows, tasks and serving pass them around."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from switchyard.core.runs.jobs import JobState


class RunStatus(StrEnum):
    """A quick test's status, as stored."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True for a status that only a new attempt leaves."""
        return self in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a flow says of a run before it has an id."""

    request_key: str  # unique; the same key finds the same run again
    display_name: str = ""
    mlflow_experiment_name: str = ""
    parameters: dict[str, Any] = {}


class QuickTest(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `quick_tests`. On a table that is not ours, all below `mlflow_run_id` keep their defaults."""

    id: int
    status: RunStatus
    gcs_artifacts_path: str = ""  # the run's own folder: <ARTIFACTS_URI>/quick_tests/<id>
    mlflow_run_id: str = ""
    display_name: str = ""
    mlflow_experiment_name: str = ""
    parameters: dict[str, Any] = {}
    request_key: str = ""
    error: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    notes: str = ""
    archived_at: datetime | None = None  # None: it is not


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list of runs."""

    id: int
    status: str = ""  # as stored; empty if an application's own table has none
    display_name: str = ""
    available: bool = False  # a history is published
    error: str = ""
    created_at: datetime | None = None
    completed_at: datetime | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `switchyard_jobs`: one attempt at one run, written before any job is created."""

    quick_test_id: int
    attempt: int  # from 1
    key: str  # jobs.to_submission_key
    request_key: str
    state: JobState
    job_name: str = ""  # empty until the launcher has answered
    reason: str = ""
    error: str = ""  # what went wrong in our own work on it, where the run's row has no column for that
    log_uri: str = ""
    image: str = ""
    parameters: dict[str, Any] = {}
    unread: str = ""  # why its parameters cannot be read; they are empty then
    claimed_at: datetime
    ended_event_at: datetime | None = None
    completed_event_at: datetime | None = None  # None: no one was told, or no one will be, that it completed its run


class NewestJob(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a run's newest job where the run is ended."""

    attempt: int
    state: JobState


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What is written of a job before any is created."""

    quick_test_id: int
    request_key: str  # unique; the same key finds the same job again
    artifacts_uri: str  # for the run's row, where it names no folder yet
    parameters: Mapping[str, Any] = {}
    image: str = ""


class ClaimedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed job, and where its run's files go."""

    job: Job
    artifacts_uri: str  # the run's own folder, as its row has it since the claim


class JobNews(msgspec.Struct, frozen=True, kw_only=True):
    """What a launcher says of a job, or what is concluded without one; what is empty is not known."""

    state: JobState
    job_name: str = ""
    reason: str = ""
    log_uri: str = ""
    started_at: datetime | None = None


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """A run that reconcile must look at.

    Its newest job is open, its end was not published, it is completed without a history, or its completion was not
    told.

    A row that cannot be read is listed with `unread`, so that it is its own trouble and not that of the others;
    `quick_test` then has what could be read of it, which is at least its id.
    """

    quick_test: QuickTest
    job: Job | None
    published_status: str | None  # partial | failed | completed; None: nothing published
    repair_attempts: int = 0
    unread: str = ""  # why the row, or its job's, cannot be read


class RowNews(msgspec.Struct, frozen=True, kw_only=True):
    """What an adopted row says of its run from now on."""

    status: RunStatus
    error: str = ""
    display_name: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
