"""The end of a failed run's log on its page."""

from pathlib import Path

import msgspec
from starlette.testclient import TestClient

from serving.app import create_app
from switchyard.clients.launchers.local.job_log import read_end
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, RunStatus
from tests.clients.results.places import NOW, Place
from tests.serving.conftest import OverPlace
from tests.serving.factories import make_run


def fail(place: Place, name: str, log_uri: str) -> int:
    """A failed run whose job's log is there."""
    run = make_run(place, name).id
    claim = Claim(quick_test_id=run, request_key=name, artifacts_uri="file:///nowhere")
    job = place.jobs.claim_job(claim, now=NOW).job
    place.jobs.record_job(job.key, JobNews(state=JobState.FAILED, log_uri=log_uri), now=NOW)
    place.runs.end_run(run, RunStatus.FAILED, error="exit status 1", now=NOW)
    return run


def test_a_failed_run_shows_how_its_log_ends(place: Place, tmp_path: Path) -> None:
    """Of a job of this machine the last lines, escaped; of Vertex AI a link; of anything else where it is."""
    outside = OverPlace(place)
    outside.settings = msgspec.structs.replace(place.settings, state_dir=str(tmp_path))
    client = TestClient(create_app(outside))
    log = tmp_path / "jobs" / "k" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(f"line {number}" for number in range(100)) + "\nValueError: <b>no rows</b>\n\n")
    here = client.get(f"/quick-tests/{fail(place, 'here', log.as_uri())}").text
    assert "ValueError: &lt;b&gt;no rows&lt;/b&gt;" in here
    assert "line 99" in here
    assert "line 59" not in here
    url = "https://console.cloud.google.com/logs/query?x=1"
    assert f'href="{url}"' in client.get(f"/quick-tests/{fail(place, 'vertex', url)}").text
    elsewhere = client.get(f"/quick-tests/{fail(place, 'elsewhere', 'file:///other/log.txt')}").text
    assert "<code>file:///other/log.txt</code>" in elsewhere
    script = client.get(f"/quick-tests/{fail(place, 'script', 'javascript:alert(1)')}").text
    assert 'href="javascript' not in script


def test_no_file_is_read_that_is_not_a_jobs_log(tmp_path: Path) -> None:
    """Whatever a row names: another folder, a way out of it, another name, a link to elsewhere."""
    secret = tmp_path / "secret" / "log.txt"
    jobs = tmp_path / "state" / "jobs" / "k"
    for folder in (secret.parent, jobs):
        folder.mkdir(parents=True)
    secret.write_text("secret")
    (jobs / "other.txt").write_text("secret")
    (jobs / "log.txt").symlink_to(secret)
    state = str(tmp_path / "state")
    for uri in (
        secret.as_uri(),
        (jobs / "other.txt").as_uri(),
        (jobs / "log.txt").as_uri(),
        f"file://{jobs}/../../../secret/log.txt",
        "file:///%00",
        "gs://bucket/log.txt",
        "",
    ):
        assert read_end(uri, state, lines=5) == ""
    (jobs / "log.txt").unlink()
    (jobs / "log.txt").write_text("a\n\nb\nc\n")
    assert read_end((jobs / "log.txt").as_uri(), state, lines=2) == "b\nc"
