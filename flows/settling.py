"""The end of a run's walk, the same in every flow: what its job left is read, judged and published."""

from typing import Any

import msgspec

from history.errors import BadRecord, BadRequest, NotFound, StaleWrite, SwitchyardError
from history.jobs import JobState
from history.outcomes import Outcome, choose_outcome
from history.ownership import is_of_job
from history.publishing import to_publication
from history.reading import read_record
from history.record import MetricsRecord, Sampling
from history.runs import Job, Publication, PublishResult, QuickTest, RunStatus
from tasks.publishing import publish, read_metrics_file
from tasks.runs import end_run, record_error


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run: its status now, and what is published of it (None: nothing by this call)."""

    quick_test_id: int
    status: RunStatus
    gcs_artifacts_path: str
    error: str = ""
    refused: bool = False  # the file was, or it is not there though the job succeeded
    published: PublishResult | None = None
    history: dict[str, Any] = {}

    @property
    def final_metrics(self) -> dict[str, float | None]:
        """Of the published history; empty where none is."""
        return dict(self.history.get("final_metrics") or {})


def settle(run: QuickTest, job: Job | None, *, force: bool = False, sampling: Sampling | None = None) -> Settled:
    """Publishes what the newest job of `run` left, or ends the run with the reason why there is nothing to publish.

    Safe to call at any time, twice, and by two at once. A file that is refused ends the run of an ended job as failed;
    what was published before stays.

    Raises:
        BadRecord, NotFound: the file of a run that cannot be ended (its job is at work, or its row is completed) is
            refused or missing; the row says why.
        StaleWrite: what is published has the same rank and other content; the row says so.
    """
    state = job.state if job else None
    try:
        record = _read(run, job)
    except (BadRecord, BadRequest, NotFound) as err:
        return _end_unread(run, job, choose_outcome(state, None, run.status), err)
    outcome = choose_outcome(state, record.status if record else None, run.status)
    if record is None or not outcome.publish:
        return _end_unread(run, job, outcome, None)
    publication = to_publication(
        record,
        quick_test_id=run.id,
        source="file",
        sampling=sampling or to_sampling(run, job),
        row_status=outcome.row_status,
        error=_with_reason(outcome.error, job),
    )
    try:
        result = publish(publication, force)
    except StaleWrite as err:
        record_error(run.id, str(err))
        raise
    return _settled(run, job, outcome, publication, result)


def to_sampling(run: QuickTest, job: Job | None) -> Sampling:
    """The sampling that the run was asked for; the default where its parameters do not say (a run that is not ours)."""
    asked = (job.parameters if job else None) or run.parameters
    known = {name: asked[name] for name in Sampling.__struct_fields__ if name in asked}
    return msgspec.convert(known, Sampling)


def _read(run: QuickTest, job: Job | None) -> MetricsRecord | None:
    """The record of the run's newest job; None: it left none, only an earlier attempt did."""
    if not run.gcs_artifacts_path:
        raise NotFound(
            f"quick test {run.id} has no gcs_artifacts_path, so that there is no training_metrics.json to read; "
            "write its folder's URI on the row, then ingest again"
        )
    uri = f"{run.gcs_artifacts_path.rstrip('/')}/training_metrics.json"
    where = f"training_metrics.json of quick test {run.id} ({uri})"
    record = read_record(read_metrics_file(uri), where=where)
    if not is_of_job(record.run, run.id, job, where=where):
        return None
    # A training that ended before its first epoch says so in a file without any: there is nothing to read in it.
    return record if record.epochs or record.available else None


def _end_unread(run: QuickTest, job: Job | None, outcome: Outcome, refusal: SwitchyardError | None) -> Settled:
    """The end of a run of whose newest job nothing can be published."""
    refused = isinstance(refusal, BadRecord | BadRequest)
    if outcome.row_status is None or run.status is RunStatus.COMPLETED:
        # Its job is at work and may write a better one; or somebody completed the row, and that stands.
        why = refusal or NotFound(f"quick test {run.id}: {outcome.reason}")
        if refused or run.status is RunStatus.COMPLETED:
            record_error(run.id, str(why))
        raise why
    ended = f"the training job {job.state}" if job else "no job is known"
    # The outcome speaks of a missing file: one that is there and refused was not written by this run, or not whole.
    error = _with_reason(f"{ended}, and its metrics file is refused: {refusal}" if refused else outcome.error, job)
    end_run(run.id, outcome.row_status, error)
    return Settled(
        quick_test_id=run.id,
        status=outcome.row_status,
        gcs_artifacts_path=run.gcs_artifacts_path,
        error=error,
        refused=refused or (job is not None and job.state is JobState.SUCCEEDED),
    )


def _settled(
    run: QuickTest, job: Job | None, outcome: Outcome, publication: Publication, result: PublishResult
) -> Settled:
    status = outcome.row_status or run.status
    if result is PublishResult.KEPT_NEWER and outcome.row_status is not None:
        # Nothing was written, the row's status neither: it must not stay open for that.
        end_run(run.id, outcome.row_status, publication.error)
    return Settled(
        quick_test_id=run.id,
        status=status,
        gcs_artifacts_path=run.gcs_artifacts_path,
        error=publication.error,
        refused=job is not None and job.state is JobState.SUCCEEDED and status is RunStatus.FAILED,
        published=result,
        history=publication.history,
    )


def _with_reason(error: str, job: Job | None) -> str:
    """`error`, and the launcher's own words for it, and where the log lies."""
    if not error or job is None or job.state is JobState.SUCCEEDED:
        return error
    log = f"its log: {job.log_uri}" if job.log_uri else ""
    return "; ".join(filter(None, (error, job.reason, log)))
