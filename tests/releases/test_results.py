"""A results database that the last release made and wrote is read, and written further, by this one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.clients.results.tables import SCHEMA
from switchyard.clients.settings import read_settings
from switchyard.core.history.publication import PublishResult
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import Sampling
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import JobNews, RunStatus
from tests.postgres import Postgres, postgres
from tests.releases.release import Release
from tests.root import ROOT

__all__ = ["postgres"]

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
FILE = ROOT / "tests" / "core" / "metrics" / "golden" / "v1_completed" / "training_metrics.json"

WRITE = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from clients.migrate import migrate
from clients.results import open_results
from clients.settings import read_settings
from history.jobs import JobState
from history.publishing import to_publication
from history.reading import read_record
from history.record import Sampling
from history.runs import NewRun, RunStatus
now = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
url, file = sys.argv[1:]
migrate(read_settings({"RESULTS_URL": url}))
results = open_results(url)
ended = results.create_run(NewRun(request_key="ended", display_name="a run", parameters={"epochs": 3}), now=now)
open_ = results.create_run(NewRun(request_key="open", parameters={"epochs": 4}), now=now)
for run in (ended, open_):
    job = results.claim_job(run.id, f"request {run.id}", artifacts_uri=f"file:///runs/{run.id}",
        parameters={"epochs": 3}, image="", now=now)
    results.record_job(job.key, state=JobState.RUNNING, job_name=f"job-{run.id}", now=now)
record = read_record(Path(file).read_bytes(), where=file)
results.publish(to_publication(record, quick_test_id=ended.id, source="file", sampling=Sampling(),
    row_status=RunStatus.COMPLETED), now=now)
print(json.dumps({"database": results.read_database_id(), "ended": ended.id, "open": open_.id,
    "history": results.read_history(ended.id).history_json.decode(), "key": results.read_job(open_.id).key}))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'results.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.make_database())


def test_a_database_of_the_last_release_goes_on(release: Release, url: str) -> None:
    """Migrated, it keeps its id, rows, jobs and published bytes; the same file, ingested again, changes nothing."""
    wrote = release.answer(WRITE, url, str(FILE))
    assert SCHEMA in migrate(read_settings({"RESULTS_URL": url}))
    results = open_results(url)
    assert results.runs.read_database_id() == wrote["database"]

    row = results.runs.read_run(wrote["ended"])
    assert (row.display_name, row.status, row.parameters) == ("a run", RunStatus.COMPLETED, {"epochs": 3})
    assert results.histories.read_history(row.id).history_json == wrote["history"].encode()
    again = to_publication(
        read_record(FILE.read_bytes(), where=str(FILE)),
        quick_test_id=row.id,
        source="file",
        sampling=Sampling(),
        row_status=RunStatus.COMPLETED,
    )
    assert results.histories.publish(again, now=NOW) is PublishResult.UNCHANGED
    assert results.histories.read_history(row.id).history_json == wrote["history"].encode()

    job = results.jobs.read_job(wrote["open"])
    assert job is not None
    assert (job.key, job.state, job.job_name) == (wrote["key"], JobState.RUNNING, f"job-{wrote['open']}")
    ended = results.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    assert ended.state is JobState.SUCCEEDED
