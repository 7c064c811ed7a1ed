"""Keeps the rows of training jobs (`core.ports.Jobs`), on SQLite and Postgres."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, insert, select, update

from switchyard.clients.results.engine import Database
from switchyard.clients.results.rows import (
    ENDED_STATUSES,
    KNOWN_STATUSES,
    OPEN_STATES,
    Writing,
    lock_run,
    newest_job,
    to_job,
)
from switchyard.clients.results.tables import Tables
from switchyard.core.errors import BadRecord, BadRequest, NotFound
from switchyard.core.runs.claims import may_claim_again, to_attempts, to_earlier_key, to_next_parameters
from switchyard.core.runs.jobs import JobState, to_submission_key
from switchyard.core.runs.rows import Claim, ClaimedJob, Job, JobNews, RunStatus
from switchyard.core.runs.walk import may_reopen


class SqlJobs:
    """Implements `core.ports.Jobs`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlJobs({self._database.where})"

    @property
    def _tables(self) -> Tables:
        return self._database.tables

    def claim_job(self, claim: Claim, *, now: datetime) -> ClaimedJob:
        """See the port. Returns the claimed job, or the one that this request claimed before."""
        tables = self._tables
        with self._database.writing() as connection:
            run = lock_run(connection, tables, claim.quick_test_id)
            newest = connection.execute(newest_job(tables, run.id)).one_or_none()
            writing, row = Writing(connection, tables, now), _find_own(connection, tables, claim)
            if row is None:
                row = _claim(writing, claim, run, newest)
            elif _may_claim_again(claim, run, row, newest):
                row = _claim(writing, _hand_on_key(connection, tables, claim, row), run, newest)
        return ClaimedJob(job=to_job(row._asdict()), artifacts_uri=run.gcs_artifacts_path or claim.artifacts_uri)

    def read_job(self, quick_test_id: int) -> Job | None:
        """See the port. Returns the newest attempt."""
        rows = self._database.rows(newest_job(self._tables, quick_test_id))
        return to_job(rows[0]._asdict()) if rows else None

    def find_claim(self, request_key: str) -> Job | None:
        """See the port. Finds one row by its unique key."""
        jobs = self._tables.jobs
        rows = self._database.rows(select(jobs).where(jobs.c.request_key == request_key))
        return to_job(rows[0]._asdict()) if rows else None

    def find_job(self, job_number: str) -> Job | None:
        """See the port. Returns the newest, should two platforms use the same number."""
        rows = self._database.rows(_select_by_number(self._tables, job_number))
        return to_job(rows[0]._asdict()) if rows else None

    def record_job(self, key: str, news: JobNews, *, now: datetime) -> Job:
        """See the port. Returns the job after it."""
        tables, jobs = self._tables, self._tables.jobs
        of_key = jobs.c.key == key
        with self._database.writing() as connection:
            run, row = _lock_job(connection, tables, key)
            if not JobState(row.state).ended:
                values = {name: value for name, value in msgspec.structs.asdict(news).items() if value}
                row = connection.execute(
                    update(jobs).where(of_key).values(values | {"state": str(news.state)}).returning(*jobs.c)
                ).one()
                if news.state is JobState.RUNNING:
                    _start(connection, tables, run, news.started_at or now)
        return to_job(row._asdict())

    def reopen_job(self, key: str) -> Job:
        """See the port. Returns the job after it."""
        tables, jobs = self._tables, self._tables.jobs
        with self._database.writing() as connection:
            run, row = _lock_job(connection, tables, key)
            if _may_reopen(run, row, connection.execute(newest_job(tables, run.id)).one()):
                values: dict[str, Any] = {"status": str(RunStatus.SUBMITTED)}
                if tables.own:
                    values |= {"error": "", "completed_at": None}
                connection.execute(update(tables.runs).where(tables.runs.c.id == run.id).values(values))
                reopened = {"state": str(JobState.CLAIMED), "reason": "", "error": ""}
                untold = {"ended_event_at": None, "completed_event_at": None}
                write = update(jobs).where(jobs.c.key == key).values(reopened | untold).returning(*jobs.c)
                row = connection.execute(write).one()
        return to_job(row._asdict())

    def claim_ended_event(self, key: str, *, now: datetime) -> bool:
        """See the port. Makes one UPDATE: only the first finds the column empty."""
        jobs = self._tables.jobs
        first = update(jobs).where(jobs.c.key == key, jobs.c.ended_event_at.is_(None)).values(ended_event_at=now)
        with self._database.writing() as connection:
            return connection.execute(first).rowcount == 1

    def note_completed_event(self, key: str, *, now: datetime) -> None:
        """See the port. Makes one UPDATE, which keeps the time that is there."""
        jobs = self._tables.jobs
        untold = jobs.c.key == key, jobs.c.completed_event_at.is_(None)
        with self._database.writing() as connection:
            connection.execute(update(jobs).where(*untold).values(completed_event_at=now))


def _find_own(connection: Connection, tables: Tables, claim: Claim) -> Row[Any] | None:
    """Returns the job that this request claimed before; None: none yet. Raises: BadRequest: another run has the key."""
    jobs = tables.jobs
    claimed = connection.execute(select(jobs).where(jobs.c.request_key == claim.request_key)).one_or_none()
    if claimed is not None and claimed.quick_test_id == claim.quick_test_id:
        return claimed
    if not claim.request_key or claimed is not None:
        if claimed is None:
            raise BadRequest(f"the request key of quick test {claim.quick_test_id} is empty. Send it with a key")
        raise BadRequest(
            f"this request key belongs to quick test {claimed.quick_test_id}. "
            f"Send quick test {claim.quick_test_id} with another key"
        )
    return None


def _may_claim_again(claim: Claim, run: Row[Any], own: Row[Any], newest: Row[Any] | None) -> bool:
    """Returns whether the request of the job `own` claims the run's next attempt; not after another request's job."""
    if newest is None or newest.key != own.key:
        return False
    status = RunStatus(run.status) if run.status in KNOWN_STATUSES else RunStatus.CANCELLED
    return may_claim_again(to_job(own._asdict()), attempts=to_attempts(claim.parameters), status=status)


def _hand_on_key(connection: Connection, tables: Tables, claim: Claim, own: Row[Any]) -> Claim:
    """Returns the claim of the attempt after `own`, which gives its request key to it now."""
    earlier = {"request_key": to_earlier_key(claim.request_key, own.attempt)}
    connection.execute(update(tables.jobs).where(tables.jobs.c.key == own.key).values(earlier))
    return msgspec.structs.replace(claim, parameters=to_next_parameters(to_job(own._asdict()), claim.parameters))


def _claim(writing: Writing, claim: Claim, run: Row[Any], newest: Row[Any] | None) -> Row[Any]:
    connection, tables, jobs = writing.connection, writing.tables, writing.tables.jobs
    _refuse_second(run, newest)
    attempt = newest.attempt + 1 if newest is not None else 1
    database_id = connection.scalar(select(tables.database.c.id)) or ""
    values: dict[str, Any] = {"status": str(RunStatus.SUBMITTED)}
    if not run.gcs_artifacts_path:
        values["gcs_artifacts_path"] = claim.artifacts_uri
    if tables.own:
        values |= {"error": "", "started_at": None, "completed_at": None}
    connection.execute(update(tables.runs).where(tables.runs.c.id == run.id).values(values))
    return connection.execute(
        insert(jobs)
        .values(
            key=to_submission_key(database_id, run.id, attempt),
            quick_test_id=run.id,
            attempt=attempt,
            request_key=claim.request_key,
            state=str(JobState.CLAIMED),
            job_name="",
            reason="",
            error="",
            log_uri="",
            image=claim.image,
            parameters=msgspec.json.encode(claim.parameters).decode(),
            claimed_at=writing.now,
        )
        .returning(*jobs.c)
    ).one()


def _refuse_second(run: Row[Any], newest: Row[Any] | None) -> None:
    """Refuses a second job at a time, and any job after the run is completed."""
    if run.status not in KNOWN_STATUSES:
        raise BadRecord(
            f"quick test {run.id}",
            [f"status must be one of {', '.join(KNOWN_STATUSES)} to train it; got {run.status!r}"],
        )
    if run.status == RunStatus.COMPLETED:
        raise BadRequest(f"Quick test {run.id} is already completed. Start a new run: switchyard train ...")
    if newest is not None and newest.state in OPEN_STATES:
        raise BadRequest(
            f"Quick test {run.id} has a job that has not ended: attempt {newest.attempt} is {newest.state} "
            f"since {newest.claimed_at:%Y-%m-%d %H:%M:%S} UTC (job {newest.job_name or 'not created yet'}). "
            f"Wait for it, or run: switchyard cancel {run.id}"
        )


def _lock_job(connection: Connection, tables: Tables, key: str) -> tuple[Row[Any], Row[Any]]:
    """Locks the run's row and the job's. First the run, then the job, everywhere: so there is no deadlock."""
    jobs = tables.jobs
    quick_test_id = connection.scalar(select(jobs.c.quick_test_id).where(jobs.c.key == key))
    if quick_test_id is None:
        raise NotFound(f"job key {key!r} was never claimed: switchyard_jobs does not have it")
    run = lock_run(connection, tables, quick_test_id)
    return run, connection.execute(select(jobs).where(jobs.c.key == key)).one()


def _may_reopen(run: Row[Any], job: Row[Any], newest: Row[Any]) -> bool:
    if run.status not in KNOWN_STATUSES:
        return False
    return may_reopen(to_job(job._asdict()), RunStatus(run.status), is_newest=newest.key == job.key)


def _start(connection: Connection, tables: Tables, run: Row[Any], started_at: datetime) -> None:
    """Notes the start. A run that someone has ended stays so, though its job still runs for a while."""
    if run.status in ENDED_STATUSES:
        return
    values: dict[str, Any] = {"status": str(RunStatus.RUNNING)}
    if tables.own and run.started_at is None:
        values["started_at"] = started_at
    connection.execute(update(tables.runs).where(tables.runs.c.id == run.id).values(values))


def _select_by_number(tables: Tables, job_number: str) -> Select[Any]:
    """Finds the open job by the end of its name: few are open, and they have their own index.

    Vertex AI names a job by the project's number, which no setting has: only the end of the name can be asked for.
    """
    jobs = tables.jobs
    return (
        select(jobs)
        .where(jobs.c.ended_event_at.is_(None), jobs.c.job_name.endswith(f"/{job_number}", autoescape=True))
        .order_by(jobs.c.claimed_at.desc())
        .limit(1)
    )
