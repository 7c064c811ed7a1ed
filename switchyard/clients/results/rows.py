"""Reads and writes the rows of runs and of their jobs, within a transaction that the caller holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Engine, Row, Select, Table, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from switchyard.clients.results.tables import Tables
from switchyard.core.errors import BadRecord, NotFound, catch, to_message
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Job, NewestJob, QuickTest, RunStatus, RunSummary

KNOWN_STATUSES = tuple(str(status) for status in RunStatus)
OPEN_STATUSES = tuple(str(status) for status in RunStatus if not status.ended)
ENDED_STATUSES = tuple(str(status) for status in RunStatus if status.ended)
KNOWN_STATES = tuple(str(state) for state in JobState)
OPEN_STATES = tuple(str(state) for state in JobState if not state.ended)


@dataclass(frozen=True)
class Writing:
    """A transaction that writes: its connection, what the tables are, and the time."""

    connection: Connection
    tables: Tables
    now: datetime


def run_columns(tables: Tables) -> list[Column[Any]]:
    """Returns what `to_quick_test` needs: all columns that are ours to read, without the history."""
    return [column for column in tables.runs.c if column.name != "training_history_json"]


def lock_run(connection: Connection, tables: Tables, quick_test_id: int, *more: ColumnElement[Any]) -> Row[Any]:
    """Returns the run's row, which no one else changes until the transaction ends. Raises: NotFound."""
    query = select(*run_columns(tables), *more).where(tables.runs.c.id == quick_test_id)
    # NO KEY UPDATE: other tables of the row's owner may go on pointing at it.
    row = connection.execute(query.with_for_update(key_share=True)).one_or_none()
    if row is None:
        raise no_such_run(tables, quick_test_id)
    return row


def lock_runs(connection: Connection, tables: Tables, quick_test_ids: list[int]) -> list[Row[Any]]:
    """Locks as `lock_run`, with `history_text`, those that there are, in the order of their ids.

    So two that lock the same rows never wait for each other in a ring."""
    return list(connection.execute(_to_lock(tables), {"ids": quick_test_ids}).all())


@lru_cache(maxsize=8)
def _to_lock(tables: Tables) -> Select[Any]:
    runs = tables.runs
    columns = (*run_columns(tables), tables.history_text.label("history_text"))
    query = select(*columns).where(runs.c.id.in_(bindparam("ids", expanding=True))).order_by(runs.c.id)
    return query.with_for_update(key_share=True)


def no_such_run(tables: Tables, quick_test_id: int) -> NotFound:
    """Returns the error to raise if an id names no row."""
    return NotFound(f"there is no quick test {quick_test_id} in {tables.runs.fullname}")


def end_values(writing: Writing, run: Row[Any], status: RunStatus, error: str) -> dict[str, Any]:
    """Returns what to write on `run` when its status becomes `status`; a table that is not ours has only the status."""
    values: dict[str, Any] = {"status": str(status)}
    if writing.tables.own:
        values["error"] = error
        if status.ended and (run.completed_at is None or run.status != status):
            values["completed_at"] = writing.now
    return values


def upsert(connection: Connection | Engine, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Makes an INSERT that can say what to do ON CONFLICT; the two databases agree on how."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def write_lines(writing: Writing, lines: Sequence[dict[str, Any]]) -> None:
    """Puts each in the place of its run's line of that kind, if any; its `attempts` grow by one."""
    ledger = writing.tables.ledger
    written = upsert(writing.connection, ledger)
    replaced = {name: written.excluded[name] for name in lines[0] if name not in ("kind", "quick_test_id")}
    writing.connection.execute(
        written.on_conflict_do_update(
            index_elements=["kind", "quick_test_id"], set_=replaced | {"attempts": ledger.c.attempts + 1}
        ),
        lines,
    )


def newest_job(tables: Tables, quick_test_id: int) -> Select[Any]:
    """Selects the run's last attempt."""
    jobs = tables.jobs
    return select(jobs).where(jobs.c.quick_test_id == quick_test_id).order_by(jobs.c.attempt.desc()).limit(1)


def newest_jobs(connection: Connection, tables: Tables, quick_test_ids: list[int]) -> dict[int, NewestJob]:
    """Returns each run's last attempt, if any; no one claims another of a locked run before the transaction ends."""
    jobs = tables.jobs
    query = (
        select(jobs.c.quick_test_id, jobs.c.key, jobs.c.attempt, jobs.c.state)
        .where(jobs.c.quick_test_id.in_(quick_test_ids))
        .order_by(jobs.c.attempt)
    )
    newest = {row.quick_test_id: row._asdict() for row in connection.execute(query)}
    return {id_: NewestJob(attempt=row["attempt"], state=to_state(row)) for id_, row in newest.items()}


def write_error(connection: Connection, tables: Tables, quick_test_id: int, error: str) -> None:
    """Puts `error` on the row, or on the newest job where the row has no place for it."""
    runs, jobs = tables.runs, tables.jobs
    if tables.own:
        connection.execute(update(runs).where(runs.c.id == quick_test_id).values(error=error))
        return
    newest = newest_job(tables, quick_test_id).with_only_columns(jobs.c.key).scalar_subquery()
    connection.execute(update(jobs).where(jobs.c.key == newest).values(error=error))


def to_quick_test(values: Mapping[str, Any]) -> QuickTest:
    """Makes a run of a row with `run_columns`. Raises: BadRecord: its status is not one of ours."""
    problems: list[str] = []
    if values["status"] not in KNOWN_STATUSES:
        problems.append(f"status must be one of {', '.join(KNOWN_STATUSES)}; got {values['status']!r}")
    parameters, unread = _to_parameters(values.get("parameters"))
    problems += [unread] if unread else []
    if problems:
        raise BadRecord(f"quick test {values['id']}", problems)
    given = {name: values[name] for name in QuickTest.__struct_fields__ if values.get(name) is not None}
    return QuickTest(**{**given, "status": RunStatus(values["status"]), "parameters": parameters})


def to_summary(row: Row[Any]) -> RunSummary:
    """Makes a summary of a row with its columns; an unknown or missing status is shown as it is."""
    return RunSummary(**{name: value for name, value in row._asdict().items() if value is not None})


def to_unread_summary(quick_test_id: int, err: Exception) -> RunSummary:
    """Makes the line of a row that cannot be fetched."""
    return RunSummary(
        id=quick_test_id, error=f"the row of quick test {quick_test_id} cannot be read; {to_message(err)}"
    )


def to_job(values: Mapping[str, Any]) -> Job:
    """Makes a job of a row of `switchyard_jobs`.

    Its parameters are read only when they are needed (`Job.unread`): a job with damaged parameters can be recorded and
    cancelled like any other.

    Raises: BadRecord: its state is not one of ours."""
    state = to_state(values)
    given = {name: values[name] for name in Job.__struct_fields__ if name in values}
    parameters, unread = _to_parameters(values["parameters"])
    if unread:
        unread = f"job {values['key']} of quick test {values['quick_test_id']}: {unread}"
    return Job(**{**given, "state": state, "parameters": parameters, "unread": unread})


def to_state(values: Mapping[str, Any]) -> JobState:
    """Returns the state of a job's row. Raises: BadRecord: it is not one of ours."""
    if values["state"] not in KNOWN_STATES:
        said = f"state must be one of {', '.join(KNOWN_STATES)}; got {values['state']!r}"
        raise BadRecord(f"job {values['key']} of quick test {values['quick_test_id']}", [said])
    return JobState(values["state"])


def _to_parameters(text: str | None) -> tuple[dict[str, Any], str]:
    """Returns the stored parameters, or why they cannot be read; raises nothing, whatever stands there."""
    if not text:
        return {}, ""
    found = catch(lambda: msgspec.json.decode(text, type=dict[str, Any]))
    if isinstance(found, Exception):
        return {}, f"parameters must be a JSON object; {to_message(found)}"
    return found, ""
