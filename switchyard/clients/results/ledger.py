"""Keeps work on many runs, and its ledger (`core.ports.Ledger`), on SQLite and Postgres."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

import msgspec
from sqlalchemy import Executable, delete, func, select

from switchyard.clients.results.backfill import (
    publish_drafts,
    select_backfill,
    select_open,
    to_backfill_rows,
    to_failed,
)
from switchyard.clients.results.engine import Database
from switchyard.clients.results.fetching import fetch_each
from switchyard.clients.results.fill import fill_runs, select_to_fill, select_unfilled, to_unfilled, to_unread
from switchyard.clients.results.pulse import read_pulse
from switchyard.clients.results.rows import Writing, upsert
from switchyard.clients.results.tables import Tables
from switchyard.clients.results.unsettled import read_unsettled, select_settled
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.errors import BadRecord, BadSetup, SwitchyardError
from switchyard.core.history.filling import Fill, FillState, Unfilled
from switchyard.core.history.publication import Draft, PublishResult
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.pulse import Pulse
from switchyard.core.runs.rows import Unsettled


class SqlLedger:
    """Implements `core.ports.Ledger`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlLedger({self._database.where})"

    @property
    def _tables(self) -> Tables:
        return self._database.tables

    @cached_property
    def _write_line(self) -> Executable:
        written = upsert(self._database.reader, self._tables.ledger)
        replaced = {name: written.excluded[name] for name in LedgerLine.__struct_fields__}
        return written.on_conflict_do_update(index_elements=["kind", "quick_test_id"], set_=replaced)

    def list_unsettled(self, *, now: datetime, limit: int) -> list[Unsettled]:
        """See `unsettled`."""
        return read_unsettled(self._database, now=now, limit=limit)

    def list_settled(self, keys: Sequence[str]) -> set[str]:
        """See `unsettled`."""
        return {row.key for row in self._database.rows(select_settled(self._tables, keys))}

    def read_pulse(self) -> Pulse:
        """See `pulse`."""
        return read_pulse(self._database)

    def list_backfill(self) -> list[BackfillRow]:
        """See `backfill`."""
        rows = self._database.rows(select_backfill(self._tables))
        return to_backfill_rows(rows, self._database.rows(select_open(self._tables)))

    def publish_many(
        self, kind: str, drafts: Sequence[Draft], *, force: bool = False, now: datetime
    ) -> dict[int, PublishResult | SwitchyardError]:
        """See the port. All in one transaction; if the database refuses that, each run in its own."""
        if not drafts:
            return {}
        try:
            with self._database.writing() as connection:
                return publish_drafts(Writing(connection, self._tables, now), kind, drafts, force=force)
        except (BadRecord, BadSetup) as err:
            if len(drafts) > 1:
                results: dict[int, PublishResult | SwitchyardError] = {}
                for draft in drafts:
                    results |= self.publish_many(kind, [draft], force=force, now=now)
                return results
            if drafts[0].publication is None:
                raise
            self.publish_many(kind, [to_failed(drafts[0], err)], now=now)
            return {drafts[0].quick_test_id: err}

    def list_unfilled(self) -> list[int]:
        """See `fill`."""
        return [row.id for row in self._database.rows(select_unfilled(self._tables))]

    def read_unfilled(self, quick_test_ids: Sequence[int]) -> list[Unfilled]:
        """See `fill`."""
        if not quick_test_ids:
            return []
        query = select_to_fill(self._tables, quick_test_ids)
        return fetch_each(self._database, query, self._tables.runs.c.id, to_unfilled, to_unread)

    def fill_many(self, fills: Sequence[Fill], *, now: datetime) -> dict[int, FillState]:
        """See the port. All in one transaction; if the database refuses that, each run in its own."""
        if not fills:
            return {}
        try:
            with self._database.writing() as connection:
                return fill_runs(Writing(connection, self._tables, now), fills)
        except (BadRecord, BadSetup) as err:
            if len(fills) > 1:
                found: dict[int, FillState] = {}
                for fill in fills:
                    found |= self.fill_many([fill], now=now)
                return found
            if fills[0].state is FillState.FAILED:
                raise
            failed = Fill(quick_test_id=fills[0].quick_test_id, state=FillState.FAILED, error=str(err))
            return self.fill_many([failed], now=now)

    def read_ledger(self, kind: str) -> list[LedgerLine]:
        """See the port. Sorts by run id."""
        ledger = self._tables.ledger
        rows = self._database.rows(select(ledger).where(ledger.c.kind == kind).order_by(ledger.c.quick_test_id))
        return [LedgerLine(**row._asdict()) for row in rows]

    def count_ledger(self, kind: str, *, since: datetime) -> int:
        """See the port. Reads one number."""
        ledger = self._tables.ledger
        (row,) = self._database.rows(
            select(func.count().label("lines")).where(ledger.c.kind == kind, ledger.c.updated_at >= since)
        )
        return int(row.lines)

    def count_tries(self, kind: str) -> int:
        """See the port. Reads one number."""
        ledger = self._tables.ledger
        total = func.coalesce(func.sum(ledger.c.attempts), 0).label("tries")
        (row,) = self._database.rows(select(total).where(ledger.c.kind == kind))
        return int(row.tries)

    def write_ledger(self, line: LedgerLine) -> None:
        """See the port. Replaces the whole line."""
        with self._database.writing() as connection:
            connection.execute(self._write_line, msgspec.structs.asdict(line))

    def clear_ledger(self, prefix: str, *, before: datetime | None = None) -> None:
        """See the port. Takes one statement."""
        ledger = self._tables.ledger
        # Not LIKE: SQLite's LIKE ignores a letter's case.
        chosen = delete(ledger).where(func.substr(ledger.c.kind, 1, len(prefix)) == prefix)
        if before is not None:
            chosen = chosen.where(ledger.c.updated_at < before)
        with self._database.writing() as connection:
            connection.execute(chosen)
