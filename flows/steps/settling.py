"""Ends a run's walk, the same in every flow: what its job left is read, judged and published."""

import time
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from prefect import get_run_logger

from flows.steps.finding import Found, find_metrics
from switchyard.core.backfill.rows import to_parent_line
from switchyard.core.errors import (
    BadRecord,
    BadRequest,
    BadSetup,
    NotFound,
    StaleWrite,
    SwitchyardError,
    catch,
    to_message,
)
from switchyard.core.history.asked_sampling import to_sampling
from switchyard.core.history.publication import Publication, PublishResult
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import Sampling
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.outcomes import Outcome, choose_outcome
from switchyard.core.runs.own_words import read_own_words, to_end_error
from switchyard.core.runs.rows import Job, QuickTest, RunStatus
from tasks.announce import announce_completed
from tasks.ingest import read_ended_file
from tasks.publish import publish
from tasks.runs import end_run, record_error, write_ledger

_PAUSES_S: Final = (1.0, 2.0)
"""Before the second and the third look at what a job that succeeded left, where the look before found nothing."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run: its status now, and what is published of it (None: nothing by this call)."""

    quick_test_id: int
    status: RunStatus
    gcs_artifacts_path: str
    error: str = ""
    refused: bool = False  # what the job left was, or it left nothing though it succeeded
    published: PublishResult | None = None
    history: dict[str, Any] = {}

    @property
    def final_metrics(self) -> dict[str, float | None]:
        """Returns the final metrics of the published history; empty if nothing is published."""
        return dict(self.history.get("final_metrics") or {})


def settle(
    run: QuickTest, job: Job | None, *, force: bool = False, sampling: Sampling | None = None, rules: str = ""
) -> Settled:
    """Publishes what the newest job of `run` left, or ends the run with the reason why there is nothing to publish.

    It may be called at any time, twice, and by two at once. If an ended job left something that is refused, the run
    ends as failed; what was published before stays.

    Raises:
        BadRecord, NotFound: the metrics of a run that cannot be ended (its job is at work, or its row is completed) are
            refused or missing, or its parameters do not say how to sample them; the row says why.
        BadSetup: they are in an MLflow that cannot be read with these settings; the row says so, and stays as it is.
        StaleWrite: what is published has the same rank and other content; the row says so.
    """
    state = job.state if job else None
    try:
        found = _find_surely(run, job, rules)
    except (BadRecord, BadRequest) as err:
        return _end_unread(run, job, choose_outcome(state, None, run.status), refusal=err)
    except BadSetup as err:
        # The metrics are there, for a reader who may read them: ending the run without them would be too early.
        record_error(run.id, str(err))
        raise
    outcome = choose_outcome(state, found.record.status if found.record else None, run.status)
    if found.record is None or not outcome.publish:
        return _end_unread(run, job, outcome, missing=found.missing, why=found.why)
    try:
        sampling = sampling or to_sampling(run, job)
    except BadRecord as err:
        # What the run left is good: it is published as asked once the row says how.
        record_error(run.id, str(err))
        raise
    publication = to_publication(
        found.record,
        quick_test_id=run.id,
        source=found.source,
        sampling=sampling,
        row_status=outcome.row_status,
        of_attempt=_to_attempt(job),
        error=_with_reason(outcome.error, run, job),
        mlflow_run_id=found.mlflow_run_id,
        versions=found.versions,
        first_digests=found.first_digests,
        tags=found.tags,
        parent=found.parent,
    )
    try:
        result = publish(publication, force)
    except StaleWrite as err:
        record_error(run.id, str(err))
        raise
    if found.parent is not None and found.parent.quick_test_id is None:
        write_ledger(to_parent_line(run.id, found.parent.mlflow_run_id, now=datetime.now(UTC)))
    return _settled(run, job, outcome, publication, result)


def _find_surely(run: QuickTest, job: Job | None, rules: str) -> Found:
    """Finds like `find_metrics`, but looks several times before it says that a job which succeeded left nothing.

    Such an answer ends the run as failed.
    """
    found = find_metrics(run, job, rules=rules)
    for pause_s in _PAUSES_S:
        if found.record is not None or job is None or job.state is not JobState.SUCCEEDED:
            break
        time.sleep(pause_s)
        found = find_metrics(run, job, rules=rules)
    return found


def _end_unread(
    run: QuickTest,
    job: Job | None,
    outcome: Outcome,
    *,
    refusal: SwitchyardError | None = None,
    missing: str = "",
    why: str = "",
) -> Settled:
    """Ends a run if nothing of its newest job can be published."""
    refused = refusal is not None
    if outcome.row_status is None or run.status is RunStatus.COMPLETED:
        # Its job is at work and may write a better one; or someone completed the row, and that stands.
        said = "; ".join(filter(None, (missing, why))) or f"quick test {run.id}: {outcome.reason}"
        error = refusal or NotFound(said)
        if refused or run.status is RunStatus.COMPLETED:
            record_error(run.id, str(error))
        raise error
    ended = f"the training job {job.state}" if job else "no job is known"
    # The outcome speaks of a missing file: one that is there and refused was not written by this run, or not whole.
    unread = f"{ended}, and what it left is refused: {refusal}" if refused else outcome.error
    end_error = _with_reason("; ".join(filter(None, (unread, why))), run, job)
    end_run(run.id, outcome.row_status, end_error, _to_attempt(job))
    return Settled(
        quick_test_id=run.id,
        status=outcome.row_status,
        gcs_artifacts_path=run.gcs_artifacts_path,
        error=end_error,
        refused=refused or (job is not None and job.state is JobState.SUCCEEDED),
    )


def _settled(
    run: QuickTest, job: Job | None, outcome: Outcome, publication: Publication, result: PublishResult
) -> Settled:
    status = outcome.row_status or run.status
    if result is PublishResult.KEPT_NEWER and outcome.row_status is not None:
        # Nothing was written, the row's status neither: it must not stay open for that.
        end_run(run.id, outcome.row_status, publication.error, _to_attempt(job))
    elif outcome.row_status is None and (run.error or (job is not None and job.error)):
        record_error(run.id, "")  # said before, of what is readable now
    if status is RunStatus.COMPLETED:
        announce_completed(run, job)
    return Settled(
        quick_test_id=run.id,
        status=status,
        gcs_artifacts_path=run.gcs_artifacts_path,
        error=publication.error,
        refused=job is not None and job.state is JobState.SUCCEEDED and status is RunStatus.FAILED,
        published=result,
        history=publication.history,
    )


def _to_attempt(job: Job | None) -> int:
    return job.attempt if job else 0


def _with_reason(error: str, run: QuickTest, job: Job | None) -> str:
    """Returns `error` with the reason before it, in the words of the training and of the launcher."""
    if not error or job is None or job.state is JobState.SUCCEEDED:
        return error
    ended = None
    if job.state is JobState.FAILED and run.gcs_artifacts_path:
        ended = catch(lambda: read_ended_file(f"{run.gcs_artifacts_path.rstrip('/')}/ended.json"))
    if isinstance(ended, Exception):
        get_run_logger().warning("quick test %s: ended.json cannot be read: %s", run.id, to_message(ended))
    return to_end_error(error, job, read_own_words(ended, job) if isinstance(ended, bytes) else "")
