"""Backfill's outside effects: a task is one query, or one batch of runs; never one run."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime

from prefect.runtime import task_run

from switchyard.clients.connect import connect
from switchyard.core.backfill.following import Accept
from switchyard.core.backfill.plan import (
    KIND,
    Adoption,
    Batch,
    BatchResult,
    How,
    Shown,
    StatusChoice,
    choose_adopted,
)
from switchyard.core.backfill.rows import AdoptedRun, BackfillRow
from switchyard.core.errors import TryAgain
from switchyard.core.mlflow.facts import Look
from switchyard.services import backfill as backfilling
from switchyard.services.following import identify
from tasks.policy import effect


@effect
def list_backfill() -> list[BackfillRow]:
    """Lists every row, and what is published of it."""
    return connect().ledger.list_backfill()


@effect
def list_adoptable(
    experiments: Sequence[str],
    status: StatusChoice,
    export_uri: str,
    store: str,
    accept: Accept,
) -> Adoption:
    """Lists the runs that no row knows, of the export at `export_uri` or of the MLflow that the settings name.

    That MLflow must be the `store` that was followed (empty: of an export). It is refused if the rows are not ours to
    make.
    """
    outside = connect()
    outside.runs.adopt_runs([], now=datetime.now(UTC))
    known = {row.mlflow_run_id for row in outside.ledger.list_backfill()}
    with closing(outside.open_tracking(export_uri)) as tracking:
        if store:
            identify(outside, tracking, store, accept)
        return choose_adopted(tracking.list_runs(experiments=experiments), known, status=status)


@effect
def adopt_runs(runs: Sequence[AdoptedRun]) -> dict[str, int]:
    """Makes rows for the runs, and returns the rows' ids by MLflow run id."""
    return connect().runs.adopt_runs(runs, now=datetime.now(UTC))


@effect
def count_shown(run_ids: Sequence[str], export_uri: str = "") -> Shown:
    """Counts how many of these MLflow runs have curves, values alone, or nothing."""
    return backfilling.count_shown(connect(), run_ids, export_uri)


@effect
def look_at_runs(run_ids: Sequence[str], export_uri: str = "") -> dict[str, Look]:
    """Says what MLflow has of these runs by now; a run that is not there any more is left out."""
    return backfilling.look_at_runs(connect(), run_ids, export_uri)


@effect
def backfill_batch(batch: Batch, how: How) -> BatchResult:
    """Publishes the batch."""
    return backfilling.backfill_runs(connect(), batch.items, how, again=(task_run.run_count or 1) > 1)


@effect
def fail_batch(batch: Batch, error: str) -> BatchResult:
    """Writes in the ledger why the rest of the batch was given up."""
    return backfilling.fail_runs(connect().ledger, batch.items, error)


def count_tries() -> int | None:
    """Counts how often lines of backfill were written, of all time; None: not known just now.

    It is not a task: only a progress bar, and whether parts are at work, depend on it.
    """
    try:
        return connect().ledger.count_tries(KIND)
    except TryAgain:
        return None
