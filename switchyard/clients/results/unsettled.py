"""Finds the runs that reconcile must look at, in one query that visits no finished run one by one.

The process that publishes a job's end claims its event next, so `ended_event_at` says that the end was published.
`completed_event_at` says that the event of a completed run was sent.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    literal_column,
    or_,
    select,
    union,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from switchyard.clients.results.engine import Database
from switchyard.clients.results.fetching import fetch_each
from switchyard.clients.results.rows import (
    KNOWN_STATUSES,
    OPEN_STATES,
    OPEN_STATUSES,
    run_columns,
    to_job,
    to_quick_test,
)
from switchyard.clients.results.tables import Tables
from switchyard.core.backfill.plan import KIND as BACKFILL
from switchyard.core.backfill.plan import SKIPPED
from switchyard.core.errors import SwitchyardError, catch, to_message
from switchyard.core.runs.rows import QuickTest, RunStatus, Unsettled

REPAIR = "repair"
_JOB = "job_"


class _Likely(FunctionElement[Any]):  # of no type: of a Boolean, SQLite would be asked whether it is 1
    """A condition that holds for most rows; Postgres knows that by itself.

    Source: https://www.sqlite.org/lang_corefunc.html#likely
    """

    inherit_cache = True


@compiles(_Likely)
def _as_condition(likely: _Likely, compiler: SQLCompiler, **named: Any) -> str:
    return compiler.process(likely.clauses, **named)


@compiles(_Likely, "sqlite")
def _as_likely(likely: _Likely, compiler: SQLCompiler, **named: Any) -> str:
    return f"likely({compiler.process(likely.clauses, **named)})"


def select_unsettled(tables: Tables) -> Select[Any]:
    """Returns the query, with the parameters `now` and `limit`.

    Rows in an unknown status (only a table that is not ours has them) are its owner's business.
    """
    runs, jobs, published, ledger = tables.runs, tables.jobs, tables.published, tables.ledger
    newest, newer = jobs.alias("newest"), jobs.alias("newer")
    candidates = _to_candidates(tables).subquery()
    no_newer = ~exists().where(newer.c.quick_test_id == newest.c.quick_test_id, newer.c.attempt > newest.c.attempt)
    return (
        select(
            *run_columns(tables),
            *(column.label(_JOB + column.name) for column in newest.c),
            published.c.status.label("published_status"),
            ledger.c.attempts.label("repair_attempts"),
        )
        .select_from(candidates)
        .join(runs, runs.c.id == candidates.c[0])
        .outerjoin(newest, and_(newest.c.quick_test_id == runs.c.id, no_newer))
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .outerjoin(ledger, and_(ledger.c.quick_test_id == runs.c.id, ledger.c.kind == REPAIR))
        .where(
            runs.c.status.in_(KNOWN_STATUSES),
            or_(
                ledger.c.next_try_at.is_(None),
                ledger.c.next_try_at <= bindparam("now", type_=ledger.c.next_try_at.type),
            ),
        )
        # Another application's rows may be thousands, and none of them ever to be published. They come after our jobs'
        # rows; the one that was completed last comes first among them, because someone waits for it.
        .order_by(newest.c.key.is_(None), case((newest.c.key.is_(None), -runs.c.id), else_=runs.c.id))
        .limit(bindparam("limit"))
    )


def read_unsettled(database: Database, *, now: datetime, limit: int) -> list[Unsettled]:
    """Reads as `core.ports.Ledger.list_unsettled` says: one query, and more only if a row cannot be fetched."""
    query, runs = select_unsettled(database.tables), database.tables.runs
    names = ("id", "status", "published_status", "repair_attempts")
    few = query.with_only_columns(*(column for column in query.selected_columns if column.name in names))

    def to_unread(quick_test_id: int, err: Exception) -> Unsettled:
        (row,) = database.rows(few.where(runs.c.id == quick_test_id), now=now, limit=1)
        return _to_unread(row._asdict(), err)

    return fetch_each(database, query, runs.c.id, to_unsettled, to_unread, now=now, limit=limit)


def select_settled(tables: Tables, keys: Sequence[str]) -> Select[Any]:
    """Selects the keys of jobs with runs that are not candidates, including those that back off or others must end."""
    jobs = tables.jobs
    candidates = _to_candidates(tables).subquery()
    return (
        select(jobs.c.key)
        .join(tables.runs, tables.runs.c.id == jobs.c.quick_test_id)
        .where(jobs.c.key.in_(keys), jobs.c.quick_test_id.not_in(select(candidates.c[0])))
    )


def _to_candidates(tables: Tables) -> CompoundSelect[Any]:
    """Selects the ids of the runs with something left to do."""
    runs, jobs, published, listed = tables.runs, tables.jobs, tables.published, tables.ledger.alias("listed")
    newest, newer = jobs.alias("newest"), jobs.alias("newer")
    no_newer = ~exists().where(newer.c.quick_test_id == newest.c.quick_test_id, newer.c.attempt > newest.c.attempt)
    # CASE, or both databases would first read every run's history and ask for its row of digests after.
    unread = case((published.c.quick_test_id.is_not(None), False), else_=~tables.has_history)
    # Backfill has read its MLflow run, and listed it: asked again every day, it would still have nothing to show.
    empty = exists().where(listed.c.quick_test_id == runs.c.id, listed.c.kind == BACKFILL, listed.c.state == SKIPPED)
    # Only rows of the index. SQLite sees that only if the state is written into the text. It reads all jobs that
    # succeeded unless it is told that most do, and that the ids are a range.
    succeeded = _Likely(newest.c.state == literal_column("'succeeded'"))
    untold = newest.c.completed_event_at.is_(None), succeeded, newest.c.quick_test_id > 0
    completed = (
        exists()
        .where(runs.c.id == newest.c.quick_test_id, runs.c.status == str(RunStatus.COMPLETED))
        .where(published.c.quick_test_id == runs.c.id, published.c.status != "partial")
    )
    # Each SELECT has its own index; one WHERE with OR would read all jobs and all runs.
    return union(
        select(newest.c.quick_test_id).where(newest.c.state.in_(OPEN_STATES)),
        select(newest.c.quick_test_id).where(newest.c.ended_event_at.is_(None), no_newer),
        select(newest.c.quick_test_id).where(*untold, no_newer, completed),
        select(jobs.c.quick_test_id)
        .join(runs, runs.c.id == jobs.c.quick_test_id)
        .where(runs.c.status.in_(OPEN_STATUSES)),
        select(runs.c.id)
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .where(runs.c.status == str(RunStatus.COMPLETED), unread, ~empty),
    )


def to_unsettled(row: Row[Any]) -> Unsettled:
    """Makes a value of a row of `select_unsettled`. It says what cannot be read; nothing is raised."""
    values = row._asdict()
    job = {name.removeprefix(_JOB): value for name, value in values.items() if name.startswith(_JOB)}
    found = catch(lambda: (to_quick_test(values), to_job(job) if job["key"] is not None else None))
    if isinstance(found, Exception):
        return _to_unread(values, found)
    return Unsettled(
        quick_test=found[0],
        job=found[1],
        published_status=values["published_status"],
        repair_attempts=values["repair_attempts"] or 0,
        unread=found[1].unread if found[1] else "",
    )


def _to_unread(values: dict[str, Any], err: Exception) -> Unsettled:
    said = to_message(err)
    if not isinstance(err, SwitchyardError):
        said = f"the row of quick test {values['id']} cannot be read; {said}"
    return Unsettled(
        quick_test=QuickTest(id=values["id"], status=RunStatus(values["status"])),
        job=None,
        published_status=values["published_status"],
        repair_attempts=values["repair_attempts"] or 0,
        unread=said,
    )
