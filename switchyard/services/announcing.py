"""Writes a job's state on its row, as its launcher reports it, and tells Prefect what happened.

Prefect is told of a job's end (once), of a completed run, and of what became of a model. Tasks and serving both do
this; they differ only in who noticed.
"""

from datetime import datetime
from enum import Enum, auto

import msgspec

from switchyard.clients.prefect.events import emit_job_ended, emit_model_event, emit_run_completed
from switchyard.core.ports import Jobs, Models, Runs
from switchyard.core.registry.rows import ModelVersion, Outcome
from switchyard.core.registry.stages import Act
from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.rows import Job, JobNews, QuickTest


class Announcement(Enum):
    """What one call of `announce_end` did."""

    SENT = auto()
    SENT_BEFORE = auto()  # another call had claimed the event: it was sent, or lost, once
    LOST = auto()  # claimed by this call, and no Prefect server took it


def record_report(jobs: Jobs, key: str, report: JobReport, *, now: datetime) -> Job:
    """Writes `report` on the job's row, and returns the row. A second call changes nothing."""
    news = JobNews(
        state=report.state,
        job_name=report.job_name,
        reason=": ".join(filter(None, (report.reason, report.message))),
        log_uri=report.log_uri,
        started_at=report.started_at,
    )
    return jobs.record_job(key, news, now=now)


def announce_end(jobs: Jobs, job: Job, *, now: datetime) -> Announcement:
    """Emits the event of `job`'s end, unless another call has. One call in a job's life answers SENT or LOST.

    If the process is killed between claim and emission, the event is lost. Never twice is worth more here than at least
    once, because reconcile does all that an event could start.
    """
    if not jobs.claim_ended_event(job.key, now=now):
        return Announcement.SENT_BEFORE
    return Announcement.SENT if emit_job_ended(job) else Announcement.LOST


def announce_completed(runs: Runs, jobs: Jobs, run: QuickTest, job: Job | None, *, now: datetime) -> bool:
    """Emits the event of a run that is completed and published, and notes that on its job.

    False: no Prefect server took it, and reconcile sends it later.

    A second call for the same job emits the same event, which a server acts on once. Killed before the note, the event
    is still owed, and reconcile comes here again. A run without a job has no place for the note: each ingest sends its
    event, and nothing else does.
    """
    # On an application's table only the job knows what was asked for.
    asked = job.parameters if job is not None and job.parameters else run.parameters
    is_sent = emit_run_completed(
        msgspec.structs.replace(
            run,
            display_name=run.display_name or str(asked.get("name") or ""),
            mlflow_experiment_name=run.mlflow_experiment_name or str(asked.get("experiment") or ""),
        ),
        runs.read_database_id(),
        key=job.key if job else "",
        register_as=str(asked.get("register_as") or ""),
    )
    if is_sent and job is not None:
        jobs.note_completed_event(job.key, now=now)
    return is_sent


def announce_model(runs: Runs, models: Models, outcome: Outcome) -> bool:
    """Emits the event of what became of a model's version; False: there is no version, or no Prefect server took it.

    A second call emits the same event, which a server acts on once. A flow that is killed before it sends it when it is
    run again.
    """
    if outcome.act is None:
        return False
    digest = models.find_version(outcome.name, str(outcome.version)).digest
    return emit_model_event(outcome, runs.read_database_id(), digest=digest)


def announce_registered(runs: Runs, models: Models, version: ModelVersion) -> bool:
    """Emits the event of a version's registration, at any time after it."""
    lines = models.list_transitions(version.name)
    made = next(line for line in lines if line.act is Act.REGISTERED and line.version == version.version)
    outcome = Outcome(name=version.name, version=version.version, act=made.act, seq=made.seq, at=made.at)
    return announce_model(runs, models, outcome)
