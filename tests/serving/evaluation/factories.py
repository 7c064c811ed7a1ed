"""Completed runs with a folder, for their evaluation reports."""

from pathlib import Path

from switchyard.core.metrics.evaluation import REPORT_NAME, EvaluationReport, ReportRun, to_report_json
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews
from tests.clients.results.places import NOW, Place
from tests.core.metrics.evaluation_reports import make_report
from tests.serving.factories import make_run, publish_run


def evaluate_run(place: Place, folder: Path, report: EvaluationReport | bytes | None, name: str = "a run") -> int:
    """A completed run with `report` in its folder, as bytes where they are given; of a whole one the run is set."""
    run = make_run(place, name)
    claim = Claim(quick_test_id=run.id, request_key=name, artifacts_uri=folder.as_uri())
    job = place.jobs.claim_job(claim, now=NOW).job
    place.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    publish_run(place, name=name)
    folder.mkdir(parents=True, exist_ok=True)
    if report is not None:
        data = report if isinstance(report, bytes) else to_report_json(report)
        (folder / REPORT_NAME).write_bytes(data)
    return run.id


def make_report_of(run: int) -> EvaluationReport:
    """A report of the run of that id."""
    return make_report(run=ReportRun(quick_test_id=run, key="abc", attempt=1, name="a run", seed=7))
