"""The runs that reconcile must look at, found in one query that visits no finished run one by one.

Whoever publishes a job's end claims its event next, so that `ended_event_at` says that the end was published.
"""

from typing import Any

from sqlalchemy import Row, Select, and_, bindparam, case, exists, or_, select, union

from switchyard.clients.results.rows import (
    KNOWN_STATUSES,
    OPEN_STATES,
    OPEN_STATUSES,
    run_columns,
    to_job,
    to_quick_test,
)
from switchyard.clients.results.tables import Tables
from switchyard.core.runs.rows import RunStatus, Unsettled

REPAIR = "repair"
_JOB = "job_"


def select_unsettled(tables: Tables) -> Select[Any]:
    """The query, with the parameters `now` and `limit`.

    Rows in a status that is none of ours (only a table that is not ours has them) are its owner's business.
    """
    runs, jobs, published, ledger = tables.runs, tables.jobs, tables.published, tables.ledger
    newest, newer = jobs.alias("newest"), jobs.alias("newer")
    no_newer = ~exists().where(newer.c.quick_test_id == newest.c.quick_test_id, newer.c.attempt > newest.c.attempt)
    # CASE, or both databases would read every run's history first and ask for its row of digests after.
    unread = case((published.c.quick_test_id.is_not(None), False), else_=~tables.has_history)
    # Each SELECT has an index of its own; one WHERE with OR would read all jobs and all runs.
    candidates = union(
        select(newest.c.quick_test_id).where(newest.c.state.in_(OPEN_STATES)),
        select(newest.c.quick_test_id).where(newest.c.ended_event_at.is_(None), no_newer),
        select(jobs.c.quick_test_id)
        .join(runs, runs.c.id == jobs.c.quick_test_id)
        .where(runs.c.status.in_(OPEN_STATUSES)),
        select(runs.c.id)
        .outerjoin(published, published.c.quick_test_id == runs.c.id)
        .where(runs.c.status == str(RunStatus.COMPLETED), unread),
    ).subquery()
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
        # Another application's rows may be thousands, and none of them ever to be published: they come after our jobs',
        # and of them the one that was completed last, for which somebody waits.
        .order_by(newest.c.key.is_(None), case((newest.c.key.is_(None), -runs.c.id), else_=runs.c.id))
        .limit(bindparam("limit"))
    )


def to_unsettled(row: Row[Any]) -> Unsettled:
    """A row of `select_unsettled`."""
    values = row._asdict()
    job = {name.removeprefix(_JOB): value for name, value in values.items() if name.startswith(_JOB)}
    return Unsettled(
        quick_test=to_quick_test(values),
        job=to_job(job) if job["key"] is not None else None,
        published_status=values["published_status"],
        repair_attempts=values["repair_attempts"] or 0,
    )
