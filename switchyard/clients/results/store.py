"""The results database (`core.ports.Results`) on SQLite and Postgres: rows, claims, published histories, ledger.

`results_engine` connects, `results_tables` has the tables, `results_errors` translates; here is what each method asks.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property

import msgspec
from sqlalchemy import and_, bindparam, func, select, update

from switchyard.clients.results import jobs as results_jobs
from switchyard.clients.results import publish as results_publish
from switchyard.clients.results import replaced as results_replaced
from switchyard.clients.results.backfill import adopt_runs, publish_drafts, select_backfill, to_backfill_row, to_failed
from switchyard.clients.results.engine import Database, OneRow
from switchyard.clients.results.kept import select_kept, select_kept_histograms, to_kept
from switchyard.clients.results.rows import (
    ENDED_STATUSES,
    end_values,
    lock_run,
    newest_job,
    no_such_run,
    run_columns,
    to_job,
    to_quick_test,
    upsert,
    write_error,
)
from switchyard.clients.results.tables import Tables, is_history
from switchyard.clients.results.unsettled import select_unsettled, to_unsettled
from switchyard.core.backfill.rows import AdoptedRun, BackfillRow
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, SwitchyardError
from switchyard.core.history.publication import Draft, Publication, PublishResult, StoredHistory
from switchyard.core.ports import Results
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import Job, NewRun, QuickTest, RunStatus, RunSummary, Unsettled
from switchyard.core.verify.kept_run import KeptRun


def open_results(url: str, table: str = "") -> Results:
    """The results database at `url`; `table` names an application's table of runs, empty for our own.

    Raises:
        BadSetup: the URL is none, or the schema there is not this version's.
    """
    database = Database(url, table)
    database.check()
    return SqlResults(database)


class SqlResults:
    """`core.ports.Results`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlResults({self._database.where})"

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        self._database.close()

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

    def read_database_id(self) -> str:
        """Made by the first migration; a copy of the database has the same."""
        (row,) = self._database.rows(select(self._tables.database.c.id))
        return str(row.id)

    def create_run(self, new: NewRun, *, now: datetime) -> QuickTest:
        """A row in status `pending`, or the one that this request made before."""
        tables = self._tables
        if not tables.own:
            raise BadRequest(
                f"a run's row in {tables.runs.fullname} (RESULTS_TABLE) must be made by the application that owns the "
                "table; make it there, then name it: --quick-test-id <id>"
            )
        if not new.request_key:
            raise BadRequest("a new run must have a request key, by which a repeated request finds it; got none")
        values = {
            "status": str(RunStatus.PENDING),
            "gcs_artifacts_path": "",
            "mlflow_run_id": "",
            "display_name": new.display_name,
            "mlflow_experiment_name": new.mlflow_experiment_name,
            "parameters": msgspec.json.encode(new.parameters).decode(),
            "request_key": new.request_key,
            "error": "",
            "created_at": now,
        }
        query = select(*run_columns(tables)).where(tables.runs.c.request_key == new.request_key)
        with self._database.writing() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                # Another process may insert it between the two; then this does nothing and its row is read.
                insert = upsert(connection, tables.runs).on_conflict_do_nothing(index_elements=["request_key"])
                connection.execute(insert.values(values))
                row = connection.execute(query).one()
        return to_quick_test(row._asdict())

    def read_run(self, quick_test_id: int) -> QuickTest:
        """The row; on a table that is not ours, the columns that we need of it."""
        query = select(*run_columns(self._tables)).where(self._tables.runs.c.id == quick_test_id)
        rows = self._database.rows(query)
        if not rows:
            raise no_such_run(self._tables, quick_test_id)
        return to_quick_test(rows[0]._asdict())

    def list_runs(self, *, limit: int, before_id: int | None = None) -> list[RunSummary]:
        """The newest first; a status that is none of ours is shown as it is."""
        tables = self._tables
        shown = [column for column in tables.runs.c if column.name in RunSummary.__struct_fields__]
        query = select(*shown, tables.has_history.label("available")).order_by(tables.runs.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(tables.runs.c.id < before_id)
        return [
            RunSummary(**{name: value for name, value in row._asdict().items() if value is not None})
            for row in self._database.rows(query)
        ]

    def claim_job(
        self,
        quick_test_id: int,
        request_key: str,
        *,
        artifacts_uri: str,
        parameters: Mapping[str, object],
        image: str,
        now: datetime,
    ) -> Job:
        """The claimed job, or the one that this request claimed before."""
        tables = self._tables
        with self._database.writing() as connection:
            row = results_jobs.claim_job(
                connection,
                tables,
                quick_test_id,
                request_key,
                artifacts_uri=artifacts_uri,
                parameters=parameters,
                image=image,
                now=now,
            )
        return to_job(row._asdict())

    def read_job(self, quick_test_id: int) -> Job | None:
        """The newest attempt."""
        rows = self._database.rows(newest_job(self._tables, quick_test_id))
        return to_job(rows[0]._asdict()) if rows else None

    def find_claim(self, request_key: str) -> Job | None:
        """One row by its unique key."""
        jobs = self._tables.jobs
        rows = self._database.rows(select(jobs).where(jobs.c.request_key == request_key))
        return to_job(rows[0]._asdict()) if rows else None

    def find_job(self, job_number: str) -> Job | None:
        """The newest one, should two platforms number alike."""
        rows = self._database.rows(results_jobs.select_job_by_number(self._tables, job_number))
        return to_job(rows[0]._asdict()) if rows else None

    def record_job(
        self,
        key: str,
        *,
        state: JobState,
        job_name: str = "",
        reason: str = "",
        log_uri: str = "",
        started_at: datetime | None = None,
        now: datetime,
    ) -> Job:
        """The job after it."""
        tables = self._tables
        with self._database.writing() as connection:
            row = results_jobs.record_job(
                connection,
                tables,
                key,
                state=state,
                job_name=job_name,
                reason=reason,
                log_uri=log_uri,
                started_at=started_at,
                now=now,
            )
        return to_job(row._asdict())

    def claim_ended_event(self, key: str, *, now: datetime) -> bool:
        """One UPDATE, of which only the first finds the column empty."""
        jobs = self._tables.jobs
        first = update(jobs).where(jobs.c.key == key, jobs.c.ended_event_at.is_(None)).values(ended_event_at=now)
        with self._database.writing() as connection:
            return connection.execute(first).rowcount == 1

    def end_run(self, quick_test_id: int, status: RunStatus, *, error: str, now: datetime) -> None:
        """The error of a second call is the last word, but for a completed run, which has none."""
        if not status.ended:
            raise BadRequest(f"a run must be ended as completed, failed or cancelled; got {str(status)!r}")
        tables = self._tables
        with self._database.writing() as connection:
            run = lock_run(connection, tables, quick_test_id)
            if run.status not in ENDED_STATUSES:
                values = end_values(tables, run, status, error, now=now)
                connection.execute(update(tables.runs).where(tables.runs.c.id == quick_test_id).values(values))
            if run.status != RunStatus.COMPLETED or status is RunStatus.COMPLETED:
                write_error(connection, tables, quick_test_id, error)

    def record_mlflow_run(self, quick_test_id: int, mlflow_run_id: str) -> None:
        """Under the row's lock; a row that says so already is not written."""
        tables = self._tables
        with self._database.writing() as connection:
            run = lock_run(connection, tables, quick_test_id)
            if run.mlflow_run_id != mlflow_run_id:
                chosen = update(tables.runs).where(tables.runs.c.id == quick_test_id)
                connection.execute(chosen.values(mlflow_run_id=mlflow_run_id))

    def record_error(self, quick_test_id: int, error: str) -> None:
        """An id that names no row is no error here: the caller is reporting another one."""
        tables = self._tables
        with self._database.writing() as connection:
            write_error(connection, tables, quick_test_id, error)

    def publish(self, publication: Publication, *, force: bool = False, now: datetime) -> PublishResult:
        """What was done; see `results_publish` for what decides it."""
        tables = self._tables
        with self._database.writing() as connection:
            return results_publish.publish(connection, tables, publication, force=force, now=now)

    def publish_many(
        self, kind: str, drafts: Sequence[Draft], *, force: bool = False, now: datetime
    ) -> dict[int, PublishResult | SwitchyardError]:
        """All in one transaction; where the database refuses that, each run in one of its own."""
        if not drafts:
            return {}
        try:
            with self._database.writing() as connection:
                return publish_drafts(connection, self._tables, kind, drafts, force=force, now=now)
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

    def list_backfill(self) -> list[BackfillRow]:
        """See `results_backfill`."""
        return [to_backfill_row(row) for row in self._database.rows(select_backfill(self._tables))]

    def adopt_runs(self, runs: Sequence[AdoptedRun], *, now: datetime) -> dict[str, int]:
        """See `results_backfill`."""
        tables = self._tables
        if not tables.own:
            raise BadRequest(
                f"runs of MLflow are adopted into our own table only; {tables.runs.fullname} (RESULTS_TABLE) is the "
                "application's: have it make the rows and write mlflow_run_id on them, then backfill without --adopt"
            )
        with self._database.writing() as connection:
            return adopt_runs(connection, tables, runs, now=now)

    def find_replaced(self, quick_test_id: int) -> int | None:
        """The highest number."""
        runs, replaced = self._tables.runs, self._tables.replaced
        newest = select(func.max(replaced.c.id)).where(replaced.c.quick_test_id == runs.c.id).scalar_subquery()
        rows = self._database.rows(select(newest.label("id")).where(runs.c.id == quick_test_id))
        if not rows:
            raise no_such_run(self._tables, quick_test_id)
        found: int | None = rows[0].id
        return found

    def recover(self, quick_test_id: int, replaced_id: int, *, now: datetime) -> bool:
        """See `results_replaced`."""
        tables = self._tables
        with self._database.writing() as connection:
            return results_replaced.recover(connection, tables, quick_test_id, replaced_id, now=now)

    def read_history(self, quick_test_id: int) -> StoredHistory:
        """The stored bytes; another application's payload has its own hash for an ETag."""
        row = self._history.read(quick_test_id)
        if row is None:
            raise no_such_run(self._tables, quick_test_id)
        text, charted_digest, etag = row
        if not is_history(text):
            return StoredHistory(None, None)
        stored = text.encode()
        if charted_digest is None or charted_digest not in text:
            etag = "sha256:" + hashlib.sha256(stored).hexdigest()
        return StoredHistory(stored, etag)

    def read_histogram(self, quick_test_id: int, kind: str, tower: str) -> bytes | None:
        """The stored gzip JSON."""
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

    def read_kept(self, quick_test_ids: Sequence[int]) -> list[KeptRun]:
        """See `results_kept`."""
        if not quick_test_ids:
            return []
        rows = self._database.rows(select_kept(self._tables, quick_test_ids))
        histograms = self._database.rows(select_kept_histograms(self._tables, quick_test_ids))
        return to_kept(self._tables, rows, histograms)

    def list_unsettled(self, *, now: datetime, limit: int) -> list[Unsettled]:
        """See `results_unsettled`."""
        return [to_unsettled(row) for row in self._database.rows(select_unsettled(self._tables), now=now, limit=limit)]

    def read_ledger(self, kind: str) -> list[LedgerLine]:
        """By run id."""
        ledger = self._tables.ledger
        rows = self._database.rows(select(ledger).where(ledger.c.kind == kind).order_by(ledger.c.quick_test_id))
        return [LedgerLine(**row._asdict()) for row in rows]

    def count_ledger(self, kind: str, *, since: datetime) -> int:
        """One number."""
        ledger = self._tables.ledger
        (row,) = self._database.rows(
            select(func.count().label("lines")).where(ledger.c.kind == kind, ledger.c.updated_at >= since)
        )
        return int(row.lines)

    def write_ledger(self, line: LedgerLine) -> None:
        """Replaces the whole line."""
        ledger = self._tables.ledger
        values = msgspec.structs.asdict(line)
        with self._database.writing() as connection:
            connection.execute(
                upsert(connection, ledger)
                .values(values)
                .on_conflict_do_update(index_elements=["kind", "quick_test_id"], set_=values)
            )
