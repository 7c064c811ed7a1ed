"""Reads how the work stands as a whole, in numbers (`core.ports.Ledger.read_pulse`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, exists, func, select, union_all

from switchyard.clients.results.engine import Database
from switchyard.clients.results.rows import OPEN_STATES
from switchyard.clients.results.tables import Tables
from switchyard.core.runs.pulse import KIND, Pulse


def read_pulse(database: Database) -> Pulse:
    """Reads it with three queries. Counting walks through the index of statuses.

    An application's table may have no such index. Then all of its rows are walked through, without their histories."""
    tables = database.tables
    runs, ledger = tables.runs, tables.ledger
    counts = database.rows(select(runs.c.status, func.count().label("runs")).group_by(runs.c.status))
    oldest = database.rows(select_oldest_unsettled(tables))
    turns = database.rows(select(func.max(ledger.c.updated_at).label("at")).where(ledger.c.kind == KIND))
    return Pulse(
        runs_by_status={row.status or "": row.runs for row in counts},
        oldest_unsettled_at=_first(oldest),
        reconciled_at=_first(turns),
    )


def select_oldest_unsettled(tables: Tables) -> Select[Any]:
    """Selects when the oldest job was claimed that is open, or has an unpublished end. Each SELECT has an index."""
    jobs = tables.jobs
    newest, newer = jobs.alias("newest"), jobs.alias("newer")
    no_newer = ~exists().where(newer.c.quick_test_id == newest.c.quick_test_id, newer.c.attempt > newest.c.attempt)
    found = union_all(
        select(jobs.c.claimed_at).where(jobs.c.state.in_(OPEN_STATES)),
        select(newest.c.claimed_at).where(newest.c.ended_event_at.is_(None), no_newer),
    ).subquery()
    return select(func.min(found.c.claimed_at).label("at"))


def _first(rows: Sequence[Row[Any]]) -> Any:
    return rows[0].at if rows else None
