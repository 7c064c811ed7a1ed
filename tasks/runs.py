"""The runs' rows and their jobs' rows: each task is one transaction of the results database."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from prefect import get_run_logger

from switchyard.clients.connect import connect
from switchyard.core.errors import SwitchyardError
from switchyard.core.runs import missing
from switchyard.core.runs.jobs import JobReport, JobState
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import Claim, ClaimedJob, Job, JobNews, NewRun, QuickTest, RunStatus, Unsettled
from switchyard.services.announcing import record_report
from tasks.policy import effect


@effect
def create_run(new: NewRun) -> QuickTest:
    """Returns the row of `new.request_key`; makes it if there is none yet."""
    return connect().runs.create_run(new, now=datetime.now(UTC))


@effect
def read_run(quick_test_id: int) -> QuickTest:
    """Reads the run's row."""
    return connect().runs.read_run(quick_test_id)


@effect
def read_job(quick_test_id: int) -> Job | None:
    """Reads the run's newest job."""
    return connect().jobs.read_job(quick_test_id)


@effect
def find_claim(request_key: str) -> Job | None:
    """Finds the job that was claimed under `request_key`."""
    return connect().jobs.find_claim(request_key)


@effect
def claim_job(quick_test_id: int, request_key: str, parameters: Mapping[str, object], image: str) -> ClaimedJob:
    """Claims the job of `request_key` before any is created; `image` is the trainer's, empty: the settings'.

    If the image's digest can be read, it is stored, so that the job runs the very image that its row names.
    """
    outside = connect()
    on_vertex = outside.settings.training_backend == "vertex"
    image = image or outside.settings.trainer_image
    if on_vertex:
        try:
            image = outside.read_image_digest(image)
        except SwitchyardError as err:
            # The job's own machine reads the image by another identity: what we may not see, it may well run.
            get_run_logger().warning("the image is kept by its tag: %s", err)
    claim = Claim(
        quick_test_id=quick_test_id,
        request_key=request_key,
        artifacts_uri=f"{outside.settings.artifacts_uri}/quick_tests/{quick_test_id}",
        parameters=parameters,
        # The local launcher runs this environment's own trainer.
        image=image if on_vertex else "",
    )
    return outside.jobs.claim_job(claim, now=datetime.now(UTC))


@effect
def record_job(key: str, report: JobReport) -> Job:
    """Writes `report` on the job's row, and returns the row."""
    return record_report(connect().jobs, key, report, now=datetime.now(UTC))


@effect
def record_job_end(key: str, state: JobState, reason: str) -> Job:
    """Ends the job without a launcher's report, and returns its row."""
    return connect().jobs.record_job(key, JobNews(state=state, reason=reason), now=datetime.now(UTC))


@effect
def end_run(quick_test_id: int, status: RunStatus, error: str, of_attempt: int | None = None) -> None:
    """Ends a run that has nothing more to publish.

    It does not if a job after `of_attempt` is to end the run. The end was concluded from `of_attempt` (0: from no job).
    """
    connect().runs.end_run(quick_test_id, status, error=error, of_attempt=of_attempt, now=datetime.now(UTC))


@effect
def record_mlflow_run(quick_test_id: int, mlflow_run_id: str) -> None:
    """Writes on the row which MLflow run is this run's."""
    connect().runs.record_mlflow_run(quick_test_id, mlflow_run_id)


@effect
def record_error(quick_test_id: int, error: str) -> None:
    """Writes on the row why something went wrong."""
    connect().runs.record_error(quick_test_id, error)


@effect
def list_unsettled(limit: int) -> list[Unsettled]:
    """Lists the runs for which something is still to be done."""
    return connect().ledger.list_unsettled(now=datetime.now(UTC), limit=limit)


@effect
def read_missing_lines() -> dict[int, LedgerLine]:
    """Reads what earlier looks wrote of jobs that they did not see, by run id."""
    return {line.quick_test_id: line for line in connect().ledger.read_ledger(missing.KIND)}


@effect
def find_missing_line(quick_test_id: int) -> LedgerLine | None:
    """Finds what earlier looks wrote of this run's job; None: each of them saw it."""
    return next(
        (line for line in connect().ledger.read_ledger(missing.KIND) if line.quick_test_id == quick_test_id), None
    )


@effect
def reopen_job(key: str) -> Job:
    """Takes back that the job is gone, or never was, and returns its row.

    The row is unchanged if that is not allowed.
    """
    return connect().jobs.reopen_job(key)


@effect
def write_ledger(line: LedgerLine) -> None:
    """Writes what became of a run in one kind of work."""
    connect().ledger.write_ledger(line)


@effect
def find_mlflow_runs(mlflow_run_ids: Sequence[str]) -> dict[str, int]:
    """Finds the rows that name these MLflow runs."""
    return connect().runs.find_mlflow_runs(mlflow_run_ids)
