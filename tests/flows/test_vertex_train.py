"""The whole walk on Vertex AI: the real clients against endpoints on this machine, found by settings alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud.aiplatform_v1.types import JobState as VertexState
from prefect.settings import PREFECT_API_URL

import tasks.turns
from flows.answers.run import RunFailed, RunResult
from flows.train import train
from serving.app import create_app
from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import Settings
from switchyard.core.errors import BadRequest, BadSetup, SwitchyardError
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import RunStatus
from tests.emulators.faults import Fault
from tests.emulators.server import serve_in_thread
from tests.emulators.vertex import VertexEmulator, passed_on_environment
from tests.flows.vertex_world import DIGESTED, FAILING, IMAGES, SCRIPTED, TRAINER, to_environ

if TYPE_CHECKING:
    from tests.emulators.gcs import Gcs

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]

TOY = ["--epochs=3", "--synthetic-buyers=60", "--synthetic-products=40", "--synthetic-interactions=1000",
       "--batch-size=64", "--embedding-dim=8", "--top-k=10"]  # fmt: skip
World = Callable[..., Outside]


@pytest.fixture
def vertex(gcs: "Gcs", start_vertex: Callable[..., VertexEmulator]) -> VertexEmulator:
    """An endpoint whose images are the trainers; its containers reach the same Cloud Storage."""
    return start_vertex(images=IMAGES, passed_on=passed_on_environment())


@pytest.fixture
def on_vertex(vertex: VertexEmulator, gcs_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Sets the environment, and migrates the results database that it names."""

    def make(transport: str = "rest", image: str = SCRIPTED) -> Outside:
        for name in Settings.__struct_fields__:
            monkeypatch.delenv(name.upper(), raising=False)
        environ = to_environ(vertex, tmp_path / "state", gcs_root, transport=transport, image=image)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        migrate(connect().settings)
        return connect()

    return make


def run_train(*flags: str) -> dict[str, Any]:
    """The answer of `python -m flows train`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", "train", "--json", "--poll-interval-s=0.5", *flags],
        env=os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def read_over_http(outside: Outside, quick_test_id: int) -> dict[str, Any]:
    """What readers get: the history, and that its histograms are there."""
    with serve_in_thread(create_app(outside)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        run = f"/api/quick-tests/{quick_test_id}"
        history = client.get(f"{run}/training-history/").raise_for_status().json()
        histograms = client.get(f"{run}/histogram-data/").raise_for_status().json()
    assert histograms["available"] is True
    assert histograms["epochs"] == list(range(histograms["epochs"][-1] + 1))
    return dict(history)


@pytest.mark.parametrize("transport", ["rest", pytest.param("grpc", marks=pytest.mark.slow)])
def test_train_publishes_what_a_container_learned(on_vertex: World, vertex: VertexEmulator, transport: str) -> None:
    """Submitted, polled, trained in a container, its metrics on gs://, ingested, published, read over HTTP."""
    outside = on_vertex(transport, TRAINER)
    answer = run_train(*TOY, "--machine-type=n1-highmem-8")
    folder = f"{outside.settings.artifacts_uri}/quick_tests/{answer['quick_test_id']}"
    assert (answer["status"], answer["gcs_artifacts_path"]) == ("completed", folder)
    history = read_over_http(outside, answer["quick_test_id"])
    assert (history["status"], history["epochs"]) == ("completed", [0, 2])
    assert history["final_metrics"] == answer["final_metrics"]
    files = {uri.removeprefix(f"{folder}/").partition("/")[0] for uri in outside.objects(folder).list(f"{folder}/")}
    assert {"training_metrics.json", "ended.json", "model", "embeddings"} <= files
    job = outside.jobs.read_job(answer["quick_test_id"])
    assert job is not None
    assert (job.image, job.state) == (TRAINER, JobState.SUCCEEDED)
    spec = vertex.core.read(job.job_name).job_spec
    assert spec.worker_pool_specs[0].machine_spec.machine_type == "n1-highmem-8"
    assert spec.base_output_directory.output_uri_prefix == folder


@pytest.mark.parametrize("readable", [True, False])
def test_the_image_s_digest_is_submitted_and_stored(
    on_vertex: World, vertex: VertexEmulator, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    """What ran is known when the tag has moved. A digest that cannot be read blocks nothing: the tag is kept."""
    outside = on_vertex()

    # No registry of Google's is on this machine: tests/clients/google/ asks one that answers like it.
    def read(self: Outside, image: str) -> str:
        assert image == SCRIPTED
        if not readable:
            raise BadSetup("the digest was not read")
        return DIGESTED

    monkeypatch.setattr(Outside, "read_image_digest", read)
    answer = train(poll_interval_s=0.05)
    job = outside.jobs.read_job(1)
    assert job is not None
    image = vertex.core.read(job.job_name).job_spec.worker_pool_specs[0].container_spec.image_uri
    assert job.image == image == (DIGESTED if readable else SCRIPTED)
    assert isinstance(answer, RunResult)
    assert answer.machine.endswith("machine hours on 1 x n1-standard-4 (standard)")


@pytest.mark.slow  # three processes
def test_two_flow_runs_at_once_share_one_job(on_vertex: World, vertex: VertexEmulator) -> None:
    """With one request key: one run, one job that is paid for, and both get its result."""
    outside = on_vertex()
    command = [sys.executable, "-m", "flows", "train", "--json", "--request-key=once", "--poll-interval-s=0.2"]
    environ = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    both = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(one.communicate(timeout=300)[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert {(answer["quick_test_id"], answer["status"]) for answer in answers} == {(1, "completed")}
    states = [vertex.core.read(name).state for name in vertex.core.list_names()]
    assert states.count(VertexState.JOB_STATE_SUCCEEDED) == 1
    assert set(states) <= {VertexState.JOB_STATE_SUCCEEDED, VertexState.JOB_STATE_CANCELLED}
    job = outside.jobs.read_job(1)
    assert job is not None
    assert vertex.core.read(job.job_name).state == VertexState.JOB_STATE_SUCCEEDED


def fail(expected: type[SwitchyardError], said: str, **parameters: object) -> None:
    with pytest.raises(expected, match=said):
        train(poll_interval_s=0.05, **parameters)


def test_files_of_this_machine_are_refused_before_submit(on_vertex: World, vertex: VertexEmulator) -> None:
    """No container could read them: the row says so, and nothing was created or paid for."""
    outside = on_vertex()
    fail(BadRequest, "--data-uri must be on Cloud Storage", data_uri="file:///data/orders.parquet")
    run = outside.runs.read_run(1)
    assert run.status is RunStatus.FAILED
    assert "gcloud storage cp" in run.error
    assert vertex.core.faults.count("CreateCustomJob") == 0


def test_a_failed_job_s_row_has_vertex_s_words_and_its_log(on_vertex: World) -> None:
    """The platform's own message, and the console's link to the log."""
    outside = on_vertex(image=FAILING)
    fail(RunFailed, "non-zero status of 3")
    run = outside.runs.read_run(1)
    assert run.status is RunStatus.FAILED
    assert "The replica workerpool0-0 exited with a non-zero status of 3" in run.error
    assert "https://console.cloud.google.com/logs/query;query=" in run.error


CPUS = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus"


def test_quota_for_the_whole_machine_says_what_to_ask_for(on_vertex: World, vertex: VertexEmulator) -> None:
    """A job that the project could never run is no failed training, and is not tried again."""
    outside = on_vertex()
    vertex.core.faults.order(Fault(kind="CreateCustomJob", status=429, message=CPUS, times=9))
    fail(BadSetup, r"Choose a smaller machine.*iam-admin/quotas\?project=demo-project")
    assert "iam-admin/quotas" in outside.runs.read_run(1).error
    assert vertex.core.faults.count("CreateCustomJob") == 1


def test_a_refused_request_trains_once_it_may(on_vertex: World, vertex: VertexEmulator) -> None:
    """403, then the permission is granted: the same request makes the job, and the error said how to come back."""
    outside = on_vertex()
    vertex.core.faults.order(Fault(kind="CreateCustomJob", status=403))
    fail(BadSetup, "roles/aiplatform.user.*has no job.*train --request-key once", request_key="once")
    refused = outside.runs.read_run(1)
    assert refused.status is RunStatus.FAILED
    assert "--request-key once" in refused.error
    train(poll_interval_s=0.05, request_key="once")
    done = outside.runs.read_run(1)
    assert (done.status, done.error) == (RunStatus.COMPLETED, "")
    assert len(vertex.core.list_names()) == 1
    job = outside.jobs.find_claim("once")
    assert job is not None
    assert job.attempt == 2


def test_a_server_that_counts_nothing_is_in_the_row(
    on_vertex: World, vertex: VertexEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before any job is made, the run has failed and says why; mended, the same request trains it."""
    outside = on_vertex()
    with monkeypatch.context() as patch:
        patch.setattr(tasks.turns, "LIMIT", "a-limit-that-nobody-made")
        fail(BadSetup, "deployments.limits", request_key="once")
    run = outside.runs.read_run(1)
    assert run.status is RunStatus.FAILED
    assert "the Prefect server has no global concurrency limit a-limit-that-nobody-made" in run.error
    assert vertex.core.faults.count("CreateCustomJob") == 0
    train(poll_interval_s=0.05, request_key="once")
    mended = outside.runs.read_run(1)
    assert (mended.status, mended.error) == (RunStatus.COMPLETED, "")


def test_requests_a_minute_that_are_used_up_are_outlasted(on_vertex: World, vertex: VertexEmulator) -> None:
    """They refill: the same submission is made again, and the run is trained by one job."""
    outside = on_vertex()
    vertex.core.faults.order(Fault(kind="CreateCustomJob", status=429, times=2))
    train(poll_interval_s=0.05)
    assert outside.runs.read_run(1).status is RunStatus.COMPLETED
    assert vertex.core.faults.count("CreateCustomJob") == 3
    assert len(vertex.core.list_names()) == 1


@pytest.mark.parametrize(("stockouts", "attempts", "jobs"), [(4, 3, 2), (8, 3, 3)])
def test_another_attempt_starts_by_itself(
    on_vertex: World, vertex: VertexEmulator, stockouts: int, attempts: int, jobs: int
) -> None:
    """No machine was to be had for the first job, or the first two: the same flow starts the next."""
    outside = on_vertex()
    vertex.core.stockouts = stockouts  # Vertex AI looks four times for a job's machine
    train(poll_interval_s=0.05, request_key="once", attempts=attempts)
    run = outside.runs.read_run(1)
    assert (run.status, run.error) == (RunStatus.COMPLETED, "")
    assert run.parameters["attempts"] == attempts
    job = outside.jobs.find_claim("once")
    assert job is not None
    assert (job.attempt, job.state) == (jobs, JobState.SUCCEEDED)
    assert len(vertex.core.list_names()) == jobs


def test_attempts_are_used_up(on_vertex: World, vertex: VertexEmulator) -> None:
    """Two were asked for, and the third is not started: neither now nor by the same request once more."""
    outside = on_vertex()
    vertex.core.stockouts = 99
    for _ in range(2):
        fail(RunFailed, "no machine of that kind is free", request_key="once", attempts=2)
    assert len(vertex.core.list_names()) == 2
    assert outside.runs.read_run(1).status is RunStatus.FAILED
    vertex.core.stockouts = 0
    train(poll_interval_s=0.05, request_key="once", attempts=3)
    assert len(vertex.core.list_names()) == 3
    assert outside.runs.read_run(1).status is RunStatus.COMPLETED


def test_want_of_machines_says_what_to_choose(on_vertex: World, vertex: VertexEmulator) -> None:
    """Capacity is told apart from a training that failed: another region, machine, or a wait."""
    outside = on_vertex()
    vertex.core.stockouts = 9  # Vertex AI looks for machines several times
    fail(RunFailed, "scheduling=flex_start")
    assert "no machine of that kind is free" in outside.runs.read_run(1).error
