"""Rows as backfill looks at them."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import RunStatus

ADOPTED: Final = "mlflow:"
"""How the request key of an adopted row begins."""


PARENT_KIND: Final = "parent"
"""The kind of the line of a nested run with a parent that has no row yet: the parent's MLflow run is its `error`."""


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
        """The request key of the row, by which a second adoption finds the first one's row."""
        return f"{ADOPTED}{self.mlflow_run_id}"


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
    ledger_attempts: int = 0  # how often that line was written
    lacks_file: bool = False  # published whole of MLflow, by whichever flow, and no backfill has written its file
    # The five below are known of rows that have not ended, were called stale, or wait for their parent's row.
    adopted: bool = False  # made for an MLflow run, in our own table: it says what MLflow says
    has_job: bool = False  # a job of ours trains it, or has
    is_partial: bool = False  # what we published was, when it was read
    seen_until: datetime | None = None  # of a partial one: its newest point that is published
    lost_parent: str = (
        ""  # of a nested one with a parent that had no row when it was published: the parent's MLflow run
    )


def to_parent_line(quick_test_id: int, mlflow_run_id: str, *, now: datetime) -> LedgerLine:
    """Returns the ledger's line of a nested run with a parent that has no row: a later backfill looks again."""
    return LedgerLine(
        kind=PARENT_KIND, quick_test_id=quick_test_id, state="unknown", attempts=1, error=mlflow_run_id, updated_at=now
    )
