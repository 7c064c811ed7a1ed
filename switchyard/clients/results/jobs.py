"""Claiming and recording jobs, within a transaction that the caller holds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, insert, select, update

from switchyard.clients.results.rows import ENDED_STATUSES, KNOWN_STATUSES, OPEN_STATES, lock_run, newest_job
from switchyard.clients.results.tables import Tables
from switchyard.core.errors import BadRecord, BadRequest, NotFound
from switchyard.core.runs.jobs import JobState, to_submission_key
from switchyard.core.runs.rows import RunStatus


def claim_job(
    connection: Connection,
    tables: Tables,
    quick_test_id: int,
    request_key: str,
    *,
    artifacts_uri: str,
    parameters: Mapping[str, object],
    image: str,
    now: datetime,
) -> Row[Any]:
    """As `core.ports.Results.claim_job` says; the job's row."""
    jobs = tables.jobs
    run = lock_run(connection, tables, quick_test_id)
    claimed = connection.execute(select(jobs).where(jobs.c.request_key == request_key)).one_or_none()
    if claimed is not None and claimed.quick_test_id == quick_test_id:
        return claimed
    if not request_key or claimed is not None:
        owner = f"quick test {claimed.quick_test_id} has it" if claimed is not None else "it is empty"
        raise BadRequest(f"the request key of a job of quick test {quick_test_id} must be its own; {owner}")
    newest = connection.execute(newest_job(tables, quick_test_id)).one_or_none()
    _refuse_second(run, newest)
    attempt = newest.attempt + 1 if newest is not None else 1
    database_id = connection.scalar(select(tables.database.c.id)) or ""
    values: dict[str, Any] = {"status": str(RunStatus.SUBMITTED)}
    if not run.gcs_artifacts_path:
        values["gcs_artifacts_path"] = artifacts_uri
    if tables.own:
        values |= {"error": "", "started_at": None, "completed_at": None}
    connection.execute(update(tables.runs).where(tables.runs.c.id == quick_test_id).values(values))
    return connection.execute(
        insert(jobs)
        .values(
            key=to_submission_key(database_id, quick_test_id, attempt),
            quick_test_id=quick_test_id,
            attempt=attempt,
            request_key=request_key,
            state=str(JobState.CLAIMED),
            job_name="",
            reason="",
            error="",
            log_uri="",
            image=image,
            parameters=msgspec.json.encode(parameters).decode(),
            claimed_at=now,
        )
        .returning(*jobs.c)
    ).one()


def _refuse_second(run: Row[Any], newest: Row[Any] | None) -> None:
    """A run has one job at a time, and none after it is completed."""
    if run.status not in KNOWN_STATUSES:
        raise BadRecord(
            f"quick test {run.id}",
            [f"status must be one of {', '.join(KNOWN_STATUSES)} to train it; got {run.status!r}"],
        )
    if run.status == RunStatus.COMPLETED:
        raise BadRequest(f"quick test {run.id} must not be completed to be trained; make a new run instead")
    if newest is not None and newest.state in OPEN_STATES:
        raise BadRequest(
            f"quick test {run.id} must have no job that has not ended; attempt {newest.attempt} is {newest.state} "
            f"since {newest.claimed_at:%Y-%m-%d %H:%M:%S} UTC (job {newest.job_name or 'not created yet'}); "
            f"wait for it, or run: python -m flows cancel --quick-test-id {run.id}"
        )


def record_job(
    connection: Connection,
    tables: Tables,
    key: str,
    *,
    state: JobState,
    job_name: str,
    reason: str,
    log_uri: str,
    started_at: datetime | None,
    now: datetime,
) -> Row[Any]:
    """As `core.ports.Results.record_job` says; the job's row."""
    jobs = tables.jobs
    of_key = jobs.c.key == key
    quick_test_id = connection.scalar(select(jobs.c.quick_test_id).where(of_key))
    if quick_test_id is None:
        raise NotFound(f"job key {key!r} must be one that was claimed; switchyard_jobs has none of that key")
    run = lock_run(connection, tables, quick_test_id)  # first the run, then the job: everywhere, so nobody deadlocks
    job = connection.execute(select(jobs).where(of_key)).one()
    if JobState(job.state).ended:
        return job
    given = {"job_name": job_name, "reason": reason, "log_uri": log_uri, "started_at": started_at}
    values = {"state": str(state), **{name: value for name, value in given.items() if value}}
    row = connection.execute(update(jobs).where(of_key).values(values).returning(*jobs.c)).one()
    if state is JobState.RUNNING:
        _start(connection, tables, run, started_at or now)
    return row


def _start(connection: Connection, tables: Tables, run: Row[Any], started_at: datetime) -> None:
    """A run that somebody has ended stays so, though its job still runs for a while."""
    if run.status in ENDED_STATUSES:
        return
    values: dict[str, Any] = {"status": str(RunStatus.RUNNING)}
    if tables.own and run.started_at is None:
        values["started_at"] = started_at
    connection.execute(update(tables.runs).where(tables.runs.c.id == run.id).values(values))


def select_job_by_number(tables: Tables, job_number: str) -> Select[Any]:
    """The job whose name ends so and whose end is not announced: few are open, and they have an index of their own.

    Vertex AI names a job by the project's number, which no setting knows: only the end of the name can be asked for.
    """
    jobs = tables.jobs
    return (
        select(jobs)
        .where(jobs.c.ended_event_at.is_(None), jobs.c.job_name.endswith(f"/{job_number}", autoescape=True))
        .order_by(jobs.c.claimed_at.desc())
        .limit(1)
    )
