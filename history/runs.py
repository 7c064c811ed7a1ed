"""What the results database holds of a run: plain values, as flows, tasks and serving pass them around."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from history.jobs import JobState


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


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list of runs."""

    id: int
    status: str
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
    claimed_at: datetime
    ended_event_at: datetime | None = None


class Rank(msgspec.Struct, frozen=True, order=True):
    """How new a published record is: compared field by field, the higher wins; equal with other content is an error."""

    attempt: int = 0
    restart: int = 0
    epochs: int = 0
    status: int = 0  # 0 partial, 1 failed, 2 completed


class Digests(msgspec.Struct, frozen=True, kw_only=True):
    """``sha256:<hex>`` over the charted series, and over everything; `series` has one a series, by its JSON path."""

    charted: str
    full: str | None = None
    series: dict[str, str] = {}


class HistogramRow(msgspec.Struct, frozen=True, kw_only=True):
    """One published histogram: gzip of the JSON that its endpoint answers."""

    kind: str  # weights | gradients
    tower: str  # query | candidate
    gzip_json: bytes


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """All that one publish writes, in one transaction. `history_json` has no `cached_at` yet: results sets it."""

    quick_test_id: int
    history: dict[str, Any]
    digests: Digests
    rank: Rank
    histograms: list[HistogramRow]
    row_status: RunStatus | None = None  # None: the row keeps its status
    error: str = ""


class PublishResult(StrEnum):
    """What a publish did."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"  # the same digests were published before: `cached_at` and the bytes are kept
    KEPT_NEWER = "kept newer"  # of a higher rank, or the own file of what comes from MLflow: nothing was written
    KEPT_LEGACY = "kept legacy"  # a history of the legacy application is there, and no force was given


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk publish writes of one run: its publication and its line of the ledger, both or none."""

    quick_test_id: int
    publication: Publication | None = None  # None: there is nothing to publish, and `state` and `error` say why
    state: str = "done"  # the line's, where the publication is stored or was before
    error: str = ""
    source_digest: str = ""
    gcs_artifacts_path: str = ""  # for the row, where it has none yet


class AdoptedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of an MLflow store as a row: what there is to say of it without its metrics."""

    mlflow_run_id: str
    status: RunStatus
    display_name: str = ""
    mlflow_experiment_name: str = ""
    created_at: datetime | None = None  # None: not known; the row is made now
    started_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def request_key(self) -> str:
        """The row's: a second adoption finds the first one's."""
        return f"mlflow:{self.mlflow_run_id}"


class BackfillRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row as backfill looks at it: what is published of the run, and what its ledger says."""

    id: int
    status: str  # as stored: an application's own table may have other words
    mlflow_run_id: str = ""
    gcs_artifacts_path: str = ""
    published: Literal["nothing", "legacy", "ours"] = "nothing"
    charted_digest: str | None = None
    full_digest: str | None = None  # None of ours: only the charted series were read
    ledger_state: str | None = None  # of its line of kind ``backfill``
    lacks_file: bool = False  # published whole of MLflow, by whichever flow, and no backfill has written its file


class KeptRun(msgspec.Struct, frozen=True, kw_only=True):
    """All that the results database keeps of one run's history, as verify compares it with the source."""

    quick_test_id: int
    mlflow_run_id: str = ""  # the row's
    gcs_artifacts_path: str = ""
    is_at_work: bool = False  # a job of the run is open
    history_text: str | None = None  # None: nothing is published
    digests: Digests | None = None  # None: we have published nothing
    cached_at: datetime | None = None
    histograms: list[HistogramRow] = []
    takes_nul: bool = True  # False: the column is jsonb, which has U+FFFD in place of NUL


class StoredHistory(msgspec.Struct, frozen=True):
    """A run's published history, as stored. `history_json` is None where nothing is published."""

    history_json: bytes | None
    etag: str | None  # the digest, or the stored bytes' own hash for a legacy payload


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """A run that reconcile must look at: its newest job is open, its end was not published, or it is completed without
    a history."""

    quick_test: QuickTest
    job: Job | None
    published_status: str | None  # partial | failed | completed; None: nothing published
    repair_attempts: int = 0


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run in one kind of work (``repair``, ``backfill``, ``verify``), and when to try again."""

    kind: str
    quick_test_id: int
    # done | failed; of `backfill` also filed (done, and its metrics file written) and skipped; of `verify` one of
    # history.manifest.State
    state: str
    attempts: int
    error: str = ""
    source_digest: str = ""
    published_digest: str = ""
    next_try_at: datetime | None = None
    updated_at: datetime
