"""Keeps the rows of runs (`core.ports.Runs`), on SQLite and Postgres."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, literal_column, select, update

from switchyard.clients.results.conditions import to_bound
from switchyard.clients.results.engine import Database
from switchyard.clients.results.fetching import fetch_each
from switchyard.clients.results.finding import find_runs
from switchyard.clients.results.names import list_fields
from switchyard.clients.results.rows import (
    ENDED_STATUSES,
    Writing,
    end_values,
    lock_run,
    newest_jobs,
    no_such_run,
    run_columns,
    to_quick_test,
    to_summary,
    to_unread_summary,
    upsert,
    write_error,
)
from switchyard.clients.results.tables import Tables
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.comparison.found import KnownField, RunPage, RunQuery
from switchyard.core.errors import BadRequest
from switchyard.core.runs.edits import RunEdit, apply_edit
from switchyard.core.runs.rows import NewRun, QuickTest, RunStatus, RunSummary
from switchyard.core.runs.walk import may_end


class SqlRuns:
    """Implements `core.ports.Runs`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlRuns({self._database.where})"

    @property
    def _tables(self) -> Tables:
        return self._database.tables

    @cached_property
    def _run(self) -> Select[Any]:
        tables = self._tables
        return select(*run_columns(tables)).where(tables.runs.c.id == bindparam("quick_test_id"))

    def read_database_id(self) -> str:
        """See the port. The first migration made it; a copy of the database has the same."""
        (row,) = self._database.rows(select(self._tables.database.c.id))
        return str(row.id)

    def create_run(self, new: NewRun, *, now: datetime) -> QuickTest:
        """See the port. Makes a row in status `pending`, or returns the one that this request made before."""
        tables = self._tables
        if not tables.own:
            raise BadRequest(
                f"the application that owns {tables.runs.fullname} (RESULTS_TABLE) makes the rows of runs. "
                "Make the row there, then name it: --quick-test-id <id>"
            )
        if not new.request_key:
            raise BadRequest("a new run needs a request key, by which a repeated request finds it; got none")
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

    def adopt_runs(self, runs: Sequence[AdoptedRun], *, now: datetime) -> dict[str, int]:
        """See the port. Makes those that are not there yet, by their request keys."""
        tables = self._tables
        if not tables.own:
            raise BadRequest(
                f"runs of MLflow are adopted into our own table only; {tables.runs.fullname} (RESULTS_TABLE) is the "
                "application's: have it make the rows and write mlflow_run_id on them, then backfill without --adopt"
            )
        with self._database.writing() as connection:
            return _adopt(connection, tables, runs, now=now)

    def read_run(self, quick_test_id: int) -> QuickTest:
        """See the port. On a table that is not ours it has the columns that we need."""
        rows = self._database.rows(self._run, quick_test_id=quick_test_id)
        if not rows:
            raise no_such_run(self._tables, quick_test_id)
        return to_quick_test(rows[0]._asdict())

    def find_beside(self, quick_test_id: int) -> tuple[int | None, int | None]:
        """See the port. Makes two looks into the primary key, in one query."""
        ids = self._tables.runs.c.id
        before = select(func.max(ids)).where(ids < quick_test_id).scalar_subquery()
        after = select(func.min(ids)).where(ids > quick_test_id).scalar_subquery()
        row = self._database.rows(select(before.label("before"), after.label("after")))[0]
        return row.before, row.after

    def list_runs(self, *, limit: int, before_id: int | None = None) -> list[RunSummary]:
        """See the port. The newest first, without the archived ones; an unknown status is shown as it is."""
        tables = self._tables
        shown = [column for column in tables.runs.c if column.name in RunSummary.__struct_fields__]
        query = select(*shown, tables.has_history.label("available")).order_by(tables.runs.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(tables.runs.c.id < to_bound(before_id))
        if tables.own:
            query = query.where(tables.runs.c.archived_at.is_(None))
        return fetch_each(self._database, query, tables.runs.c.id, to_summary, to_unread_summary)

    def find_runs(self, query: RunQuery) -> RunPage:
        """See the port. Makes a few queries, for any number of runs."""
        return find_runs(self._database, query)

    def list_fields(self, prefix: str, *, limit: int) -> list[KnownField]:
        """See the port. Goes from name to name by the indexes of values."""
        return list_fields(self._database, prefix, limit=limit)

    def end_run(
        self, quick_test_id: int, status: RunStatus, *, error: str, of_attempt: int | None = None, now: datetime
    ) -> None:
        """See the port. The error of a second call is the last word; a completed run keeps none."""
        if not status.ended:
            raise BadRequest(f"a run must be ended as completed, failed or cancelled; got {str(status)!r}")
        tables = self._tables
        with self._database.writing() as connection:
            run = lock_run(connection, tables, quick_test_id)
            if not may_end(of_attempt, newest_jobs(connection, tables, [run.id]).get(run.id)):
                return
            if run.status not in ENDED_STATUSES:
                values = end_values(Writing(connection, tables, now), run, status, error)
                connection.execute(update(tables.runs).where(tables.runs.c.id == quick_test_id).values(values))
            if run.status != RunStatus.COMPLETED or status is RunStatus.COMPLETED:
                write_error(connection, tables, quick_test_id, error)

    def find_mlflow_runs(self, mlflow_run_ids: Sequence[str]) -> dict[str, int]:
        """See the port. Uses our table's index of these ids; an application's may lack it: it walks all rows then."""
        wanted = sorted({run_id for run_id in mlflow_run_ids if run_id})
        if not wanted:
            return {}
        runs = self._tables.runs
        query = select(runs.c.mlflow_run_id, func.min(runs.c.id).label("id"))
        # Said though `wanted` implies it: the index has no other rows, and SQLite would not see that it fits.
        named = runs.c.mlflow_run_id != literal_column("''")
        rows = self._database.rows(query.where(named, runs.c.mlflow_run_id.in_(wanted)).group_by(runs.c.mlflow_run_id))
        return {row.mlflow_run_id: row.id for row in rows}

    def record_mlflow_run(self, quick_test_id: int, mlflow_run_id: str) -> None:
        """See the port. Works under the row's lock; a row that says so already is not written."""
        tables = self._tables
        with self._database.writing() as connection:
            run = lock_run(connection, tables, quick_test_id)
            if run.mlflow_run_id != mlflow_run_id:
                chosen = update(tables.runs).where(tables.runs.c.id == quick_test_id)
                connection.execute(chosen.values(mlflow_run_id=mlflow_run_id))

    def edit_run(self, quick_test_id: int, edit: RunEdit, *, now: datetime) -> QuickTest:
        """See the port. Works under the row's lock; a row that says so already is not written."""
        tables = self._tables
        if not tables.own:
            raise BadRequest(
                f"the application that owns {tables.runs.fullname} (RESULTS_TABLE) edits its runs. Change the run there"
            )
        with self._database.writing() as connection:
            before = to_quick_test(lock_run(connection, tables, quick_test_id)._asdict())
            after = apply_edit(before, edit, now=now)
            if after != before:
                chosen = update(tables.runs).where(tables.runs.c.id == quick_test_id)
                edited = {"display_name": after.display_name, "notes": after.notes, "archived_at": after.archived_at}
                connection.execute(chosen.values(edited))
        return after

    def record_error(self, quick_test_id: int, error: str) -> None:
        """See the port. An id that names no row is not an error here: the caller is reporting another one."""
        tables = self._tables
        with self._database.writing() as connection:
            write_error(connection, tables, quick_test_id, error)


def _adopt(connection: Connection, tables: Tables, runs: Sequence[AdoptedRun], *, now: datetime) -> dict[str, int]:
    if not runs:
        return {}
    rows = [
        {
            "status": str(run.status),
            "gcs_artifacts_path": "",
            "mlflow_run_id": run.mlflow_run_id,
            "display_name": run.display_name,
            "mlflow_experiment_name": run.mlflow_experiment_name,
            "parameters": "{}",
            "request_key": run.request_key,
            "error": "",
            "created_at": run.created_at or run.started_at or now,
            "started_at": run.started_at,
            "completed_at": run.completed_at,
        }
        for run in runs
    ]
    connection.execute(upsert(connection, tables.runs).on_conflict_do_nothing(index_elements=["request_key"]), rows)
    found = tables.runs
    ids = connection.execute(
        select(found.c.request_key, found.c.id).where(found.c.request_key.in_([run.request_key for run in runs]))
    )
    by_key = {row.request_key: row.id for row in ids}
    return {run.mlflow_run_id: by_key[run.request_key] for run in runs}
