"""The evaluation report of a run, as serving answers it: read from the run's folder, checked, and of that run."""

from collections.abc import Callable

from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.metrics.evaluation import MAX_REPORT_BYTES, REPORT_NAME, EvaluationReport, read_report
from switchyard.core.ports import Objects
from switchyard.core.runs.rows import QuickTest, RunStatus


def find_report(open_objects: Callable[[str], Objects], run: QuickTest) -> EvaluationReport | None:
    """Finds the report; None: the run is not completed, or left none, as older trainers do.

    A second call reads again.

    Raises:
        BadRecord: it is damaged, too large, or another run's. TryAgain, BadSetup: its folder cannot be read.
    """
    if run.status is not RunStatus.COMPLETED or not run.gcs_artifacts_path:
        return None
    uri = f"{run.gcs_artifacts_path.rstrip('/')}/{REPORT_NAME}"
    try:
        data, _ = open_objects(run.gcs_artifacts_path).read(uri, max_bytes=MAX_REPORT_BYTES)
    except NotFound:
        return None
    report = read_report(data, f"the evaluation report of quick test {run.id} ({uri})")
    if report.run.quick_test_id != run.id:
        raise BadRecord(
            uri, [f"`run.quick_test_id` must be {run.id}; got {report.run.quick_test_id}: it is another run's report"]
        )
    return report
