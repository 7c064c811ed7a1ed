"""A job's end on Vertex AI: found by reconcile where no event told of it, and told to a real Prefect server."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prefect.client.orchestration import get_client
from starlette.testclient import TestClient

from flows.reconcile import ReconcileResult, reconcile
from serving.app import create_app
from serving.push import PATH
from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import Settings
from switchyard.core.metrics.writing import to_json
from switchyard.core.ports import ABSENT, ANY
from switchyard.core.runs.jobs import JobOrder, JobState, to_labels
from switchyard.core.runs.rows import Claim, Job, JobNews, NewRun, RunStatus
from tests.emulators.gcs_push import PushConfig
from tests.emulators.server import serve_in_thread
from tests.emulators.tokens import Issuer
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_jobs import PYTHON_IMAGE
from tests.flows.polling import wait_for
from tests.serving.factories import make_record
from tests.serving.push_world import ACCOUNT, AUDIENCE, RUNNING, SUCCEEDED, Certificates, to_logged

if TYPE_CHECKING:
    from tests.emulators.gcs import Gcs

ISSUER = Issuer()
"""Whose tokens are taken."""

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def on_vertex(
    gcs_root: str, idle_vertex: VertexEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Outside]:
    """The wiring that the settings make: jobs by REST, files on Cloud Storage, SQLite; pushes signed by our key."""
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    environ = {
        "STATE_DIR": str(tmp_path / "state"),
        "TRAINING_BACKEND": "vertex",
        "ARTIFACTS_URI": gcs_root,
        "GCP_PROJECT_ID": "demo-project",
        "GCP_REGION": "us-central1",
        "TRAINER_IMAGE": PYTHON_IMAGE,
        "VERTEX_TRANSPORT": "rest",
        "VERTEX_API_ENDPOINT": idle_vertex.rest_endpoint,
        "PUSH_AUDIENCE": AUDIENCE,
        "PUSH_SERVICE_ACCOUNT": ACCOUNT,
    }
    with serve_in_thread(Certificates(ISSUER).app) as certs_url:
        for name, value in (environ | {"PUSH_CERTS_URL": f"{certs_url}/certs"}).items():
            monkeypatch.setenv(name, value)
        outside = connect()
        migrate(outside.settings)
        yield outside


def train(outside: Outside, vertex: VertexEmulator, name: str, state: int = SUCCEEDED) -> Job:
    """A run whose job has come to `state` on Vertex AI and left its file, while no one looked."""
    now = datetime.now(UTC)
    run = outside.runs.create_run(NewRun(request_key=name, display_name=name), now=now)
    folder = f"{outside.settings.artifacts_uri}/quick_tests/{run.id}"
    job = outside.jobs.claim_job(Claim(quick_test_id=run.id, request_key=name, artifacts_uri=folder), now=now).job
    labels = to_labels(outside.runs.read_database_id(), run.id, job.attempt)
    order = JobOrder(display_name=name, arguments=["pass"], labels=labels, timeout_s=600)
    report = outside.launcher.submit(job.key, order)
    job = outside.jobs.record_job(job.key, JobNews(state=report.state, job_name=report.job_name), now=now)
    record = make_record(epochs=11)
    assert record.run is not None
    identity = msgspec.structs.replace(record.run, quick_test_id=run.id, key=job.key, attempt=job.attempt)
    data = to_json(msgspec.structs.replace(record, run=identity))
    outside.objects(folder).write(f"{folder}/training_metrics.json", data, if_generation=ABSENT)
    vertex.core.move(report.job_name, state)
    return job


def push(outside: Outside, job: Job) -> int:
    headers = {"Authorization": f"Bearer {ISSUER.make_id_token(AUDIENCE, ACCOUNT)}"}
    with TestClient(create_app(outside)) as client:
        return client.post(PATH, json=to_logged(job), headers=headers).status_code


def read_events(job: Job) -> list[dict[str, Any]]:
    """The events about the job that Prefect's server holds."""
    asked = {"filter": {"resource": {"id": [f"training-job.{job.quick_test_id}"]}}}
    path: Any = "/events/filter"
    with get_client(sync_client=True) as client:
        answer = client.request("POST", path, json=asked).raise_for_status().json()
    return [event for event in answer["events"] if event["payload"]["key"] == job.key]


def test_reconcile_publishes_an_end_that_no_event_told(on_vertex: Outside, idle_vertex: VertexEmulator) -> None:
    """No push came, or all were lost: one turn lists the job, reads its file, publishes, and announces the end."""
    job = train(on_vertex, idle_vertex, "unseen")
    result = reconcile()
    assert isinstance(result, ReconcileResult)
    assert result.settled == [job.quick_test_id]
    assert on_vertex.runs.read_run(job.quick_test_id).status is RunStatus.COMPLETED
    assert on_vertex.histories.read_history(job.quick_test_id).history_json is not None
    assert push(on_vertex, job) == 204  # late: nothing is left to do
    wait_for(lambda: len(read_events(job)) == 1)


def test_a_push_s_event_reaches_prefect_and_reconcile_leaves_it_its_turn(
    on_vertex: Outside, idle_vertex: VertexEmulator
) -> None:
    """A real server holds the one event that starts ingest; should that never run, reconcile publishes."""
    job = train(on_vertex, idle_vertex, "pushed")
    assert [push(on_vertex, job) for _ in range(2)] == [204, 204]
    wait_for(lambda: [event["event"] for event in read_events(job)] == ["training-job.succeeded"])
    [event] = read_events(job)
    assert event["payload"]["quick_test_id"] == job.quick_test_id
    recorded = on_vertex.jobs.read_job(job.quick_test_id)
    assert recorded is not None
    assert recorded.state is JobState.SUCCEEDED
    first, later = reconcile(grace_s=3600), reconcile(grace_s=0)
    assert isinstance(first, ReconcileResult)
    assert isinstance(later, ReconcileResult)
    assert (first.settled, first.announced) == ([], [])
    assert later.settled == [job.quick_test_id]
    assert len(read_events(job)) == 1


def test_a_bucket_s_notification_is_sent_again_until_the_job_has_ended(
    on_vertex: Outside, idle_vertex: VertexEmulator, gcs: "Gcs"
) -> None:
    """The bucket pushes by itself as ended.json is written, before Vertex AI calls the job ended.

    It pushes for the snapshots too, which are no hint. One event comes of it, and it comes by the repeated push.
    """
    job = train(on_vertex, idle_vertex, "notified", RUNNING)
    folder = on_vertex.runs.read_run(job.quick_test_id).gcs_artifacts_path
    bucket, _, prefix = folder.removeprefix("gs://").partition("/")
    token = ISSUER.make_id_token(AUDIENCE, ACCOUNT)
    with serve_in_thread(create_app(on_vertex, only_events=True)) as url:
        gcs.push_to(PushConfig(bucket=bucket, push_url=url + PATH, object_name_prefix=prefix, bearer=token))
        objects = on_vertex.objects(folder)
        objects.write(f"{folder}/training_metrics.json", b"{}", if_generation=ANY)
        objects.write(f"{folder}/ended.json", b"{}", if_generation=ANY)
        asked = "GetCustomJob"
        wait_for(lambda: idle_vertex.core.faults.count(asked, job.job_name) >= 1)
        assert read_events(job) == []
        idle_vertex.core.move(job.job_name, SUCCEEDED)
        wait_for(lambda: len(read_events(job)) == 1)
    recorded = on_vertex.jobs.read_job(job.quick_test_id)
    assert recorded is not None
    assert recorded.state is JobState.SUCCEEDED
