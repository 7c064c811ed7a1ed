"""Keeps what is published of runs (`core.ports.Histories`), on SQLite and Postgres."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

from sqlalchemy import and_, bindparam, func, select

from switchyard.clients.results.comparing import ComparedQueries, make_queries, read_compared
from switchyard.clients.results.engine import Database, OneRow
from switchyard.clients.results.kept import select_kept, select_kept_more, to_kept
from switchyard.clients.results.outlines import read_outlines
from switchyard.clients.results.publish import publish
from switchyard.clients.results.replaced import recover
from switchyard.clients.results.rows import Writing, no_such_run
from switchyard.clients.results.rules import select_rules, to_kept_rules
from switchyard.clients.results.series import to_series_and_values
from switchyard.clients.results.tables import Tables, is_history, to_history_etag
from switchyard.core.comparison.compared import ComparedRun
from switchyard.core.comparison.outline import Outline
from switchyard.core.history.asked_rules import KeptRules
from switchyard.core.history.publication import FullSeries, Publication, PublishResult, StoredHistory
from switchyard.core.verify.kept_run import KeptRun


class SqlHistories:
    """Implements `core.ports.Histories`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlHistories({self._database.where})"

    @property
    def _tables(self) -> Tables:
        return self._database.tables

    @cached_property
    def _history(self) -> OneRow:
        tables = self._tables
        runs, published = tables.runs, tables.published
        return OneRow(
            self._database,
            select(tables.history_text, published.c.charted_digest, published.c.etag)
            .select_from(runs)
            .outerjoin(published, published.c.quick_test_id == runs.c.id)
            .where(runs.c.id == bindparam("quick_test_id")),
        )

    @cached_property
    def _compared(self) -> ComparedQueries:
        return make_queries(self._database)

    def publish(self, publication: Publication, *, force: bool = False, now: datetime) -> PublishResult:
        """See the port. `core.history.precedence` decides what is done."""
        tables = self._tables
        with self._database.writing() as connection:
            return publish(Writing(connection, tables, now), publication, force=force)

    def find_replaced(self, quick_test_id: int) -> int | None:
        """See the port. Returns the highest number."""
        runs, replaced = self._tables.runs, self._tables.replaced
        newest = select(func.max(replaced.c.id)).where(replaced.c.quick_test_id == runs.c.id).scalar_subquery()
        rows = self._database.rows(select(newest.label("id")).where(runs.c.id == quick_test_id))
        if not rows:
            raise no_such_run(self._tables, quick_test_id)
        found: int | None = rows[0].id
        return found

    def recover(self, quick_test_id: int, replaced_id: int, *, now: datetime) -> bool:
        """See the port. Works under the lock of the row."""
        tables = self._tables
        with self._database.writing() as connection:
            return recover(Writing(connection, tables, now), quick_test_id, replaced_id)

    def read_history(self, quick_test_id: int) -> StoredHistory:
        """See the port. Returns the stored bytes; another application's payload has its own hash for an ETag."""
        row = self._history.read(quick_test_id)
        if row is None:
            raise no_such_run(self._tables, quick_test_id)
        text, charted_digest, etag = row
        if not is_history(text):
            return StoredHistory(None, None)
        return StoredHistory(text.encode(), to_history_etag(text, charted_digest, etag))

    def read_series(self, quick_test_id: int) -> FullSeries | None:
        """See the port. Returns the stored gzip JSON, unless another application has written over the history."""
        tables = self._tables
        runs, published, series = tables.runs, tables.published, tables.series
        rows = self._database.rows(
            select(series.c.gzip_json, series.c.digest, published.c.charted_digest, tables.history_text.label("text"))
            .select_from(runs)
            .outerjoin(published, published.c.quick_test_id == runs.c.id)
            .outerjoin(series, series.c.quick_test_id == runs.c.id)
            .where(runs.c.id == quick_test_id)
        )
        if not rows:
            raise no_such_run(tables, quick_test_id)
        (row,) = rows
        if row.gzip_json is None or not is_history(row.text) or row.charted_digest not in row.text:
            return None
        return FullSeries(gzip_json=row.gzip_json, digest=row.digest)

    def read_histogram(self, quick_test_id: int, kind: str, tower: str) -> bytes | None:
        """See the port. Returns the stored gzip JSON."""
        runs, histograms = self._tables.runs, self._tables.histograms
        of_run = and_(histograms.c.quick_test_id == runs.c.id, histograms.c.kind == kind, histograms.c.tower == tower)
        rows = self._database.rows(
            select(histograms.c.gzip_json)
            .select_from(runs)
            .outerjoin(histograms, of_run)
            .where(runs.c.id == quick_test_id)
        )
        if not rows:
            raise no_such_run(self._tables, quick_test_id)
        found: bytes | None = rows[0].gzip_json
        return found

    def read_rules(self, quick_test_ids: Sequence[int]) -> dict[int, KeptRules]:
        """See the port. Makes two queries, for any number of runs."""
        if not quick_test_ids:
            return {}
        published, asked = select_rules(self._tables, quick_test_ids)
        return to_kept_rules(self._database.rows(published), self._database.rows(asked))

    def read_compared(self, quick_test_ids: Sequence[int]) -> list[ComparedRun]:
        """See the port. Makes one query for the rows, and one for the values."""
        return read_compared(self._database, self._compared, quick_test_ids)

    def read_outlines(self, quick_test_ids: Sequence[int]) -> dict[int, Outline]:
        """See the port. Takes one query."""
        return read_outlines(self._database, quick_test_ids)

    def read_kept(self, quick_test_ids: Sequence[int]) -> list[KeptRun]:
        """See the port. Makes four queries, for any number of runs."""
        if not quick_test_ids:
            return []
        rows = self._database.rows(select_kept(self._tables, quick_test_ids))
        histograms, series, values = (
            self._database.rows(query) for query in select_kept_more(self._tables, quick_test_ids)
        )
        return to_kept(self._tables, rows, histograms, to_series_and_values(series, values))
