"""Fill's outside effects: a task is one query, or one batch of runs; never one run."""

from collections.abc import Sequence
from datetime import UTC, datetime

from switchyard.clients.connect import connect
from switchyard.core.errors import TryAgain
from switchyard.core.history.filling import KIND, FillBatch
from switchyard.services import fill as filling
from tasks.policy import effect


@effect
def list_unfilled() -> list[int]:
    """Lists the ids of the runs without full series."""
    return connect().ledger.list_unfilled()


@effect
def fill_batch(ids: Sequence[int], export_uri: str) -> FillBatch:
    """Fills these runs."""
    return filling.fill_runs(connect(), ids, export_uri=export_uri)


@effect
def give_up_batch(ids: Sequence[int], since: datetime, error: str) -> FillBatch:
    """Writes in the ledger why the rest of the batch was given up."""
    return filling.give_up_runs(connect().ledger, ids, since.astimezone(UTC), error)


def count_filled(since: datetime) -> int | None:
    """Counts the runs that have their ledger line; None: not known just now.

    It is not a task: only a progress bar depends on it.
    """
    try:
        return connect().ledger.count_ledger(KIND, since=since)
    except TryAgain:
        return None
