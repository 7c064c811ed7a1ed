"""Each Dockerfile's lines, run as another user in an empty environment. No image is built: no Docker engine is needed.

Minutes each, most of it pip's: TensorFlow alone is 1.3 GB.
"""

import contextlib
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployments.deploy import read_pool
from tests.deployments.image import Container, find_free_port, find_obstacle
from tests.deployments.test_deploy import ENVIRON
from tests.flows.polling import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(find_obstacle()), reason=find_obstacle() or "-"),
]
DATA = "/srv/switchyard/home/data"


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Any]:
    """Builds an image's files; deleted at the test's end, because they are large."""
    containers = []

    def made(name: str) -> Container:
        container = Container(name, tmp_path)
        containers.append(container)
        container.build()
        return container

    yield made
    subprocess.run(["rm", "-rf", *(str(container._files) for container in containers)], check=True)


@contextlib.contextmanager
def running(container: Container, *arguments: str, log: Path, **environ: str) -> Iterator["subprocess.Popen[Any]"]:
    """A process of the container, ended with the block."""
    process = container.start(*arguments, log=log, **environ)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)


def test_trainer_image_trains(build: Any) -> None:
    """Without a name, a home of its own, or anything installed beside it: metrics, model and embeddings are there."""
    container: Container = build("trainer")
    flags = "--epochs=1 --synthetic-buyers=50 --synthetic-products=120 --synthetic-interactions=2000 --batch-size=64"
    done = container.run(f"--artifacts-uri=file://{DATA}", *flags.split())
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    written = container._files / "switchyard/home/data"
    record = msgspec.json.decode((written / "training_metrics.json").read_bytes())
    assert (record["status"], record["epochs"]) == ("completed", [0])
    assert (written / "ended.json").exists()
    assert (written / "training_metrics.json").stat().st_uid == 10001
    refused = container.run("--no-such-flag")
    assert refused.returncode == 2


def test_serving_image_serves_and_takes_pushes(build: Any, tmp_path: Path) -> None:
    """It answers its own health check and a page, and refuses a push without a token; it names what it lacks."""
    container: Container = build("serving")
    lacking = container.run(PUSH_AUDIENCE="https://serving.example")
    assert lacking.returncode == 2
    assert "PUSH_SERVICE_ACCOUNT must be set" in lacking.stderr
    # An image only reads: the worker's migrates. Here this environment does it.
    results = container._files / "switchyard/home/results.db"
    environ = {"RESULTS_URL": f"sqlite:///{results}", "STATE_DIR": str(tmp_path / "state"), "PATH": os.environ["PATH"]}
    _migrate(environ)
    os.chown(results, 10001, 10001)
    environ = {
        "RESULTS_URL": "sqlite:////srv/switchyard/home/results.db",
        "TRAINING_BACKEND": "vertex",
        "GCP_PROJECT_ID": "demo-project",
        "GCP_REGION": "us-central1",
        "TRAINER_IMAGE": "us-docker.pkg.dev/demo-project/switchyard/trainer:1",
        "ARTIFACTS_URI": "gs://switchyard-test",
        "PUSH_AUDIENCE": "https://serving.example",
        "PUSH_SERVICE_ACCOUNT": "push-invoker@demo-project.iam.gserviceaccount.com",
        "PREFECT_API_URL": "http://127.0.0.1:4/api",
    }
    log = tmp_path / "serving.log"
    with running(container, log=log, **environ) as process:
        wait_for(lambda: process.poll() is not None or container.is_healthy(), deadline_s=120)
        assert process.poll() is None, log.read_text()[-3000:]
        api = f"http://127.0.0.1:{container.port}"
        with urllib.request.urlopen(f"{api}/quick-tests/", timeout=10) as page:
            assert page.status == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{api}/events/training-job", data=b"{}", timeout=10)
        assert refused.value.code == 401
        refused.value.close()
        assert '"severity": "WARNING"' in log.read_text()
    assert "Traceback" not in log.read_text()


def test_worker_image_migrates_deploys_and_works(build: Any, tmp_path: Path) -> None:
    """It makes pools of both kinds, the schema, and all deployments from its own files, and its worker is healthy.

    The server is its own.
    """
    container: Container = build("worker")
    workers = "from prefect_gcp.workers.cloud_run_v2 import *; from prefect_kubernetes.worker import *"
    served = container.run("python", "-c", f"{workers}; print(CloudRunWorkerV2.type, KubernetesWorker.type)")
    assert served.stdout.split() == [read_pool(name, ENVIRON).type for name in ("cloud-run", "kubernetes")]
    migrated = container.run("python", "-m", "flows", "migrate", STATE_DIR=DATA)
    assert migrated.returncode == 0, migrated.stderr[-3000:]
    port = find_free_port()
    api = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "STATE_DIR": DATA}
    server = ["prefect", "server", "start", "--host=127.0.0.1", f"--port={port}"]
    server_log, log = tmp_path / "server.log", tmp_path / "worker.log"
    with running(container, *server, log=server_log) as process:
        wait_for(lambda: process.poll() is not None or _answers(f"{api['PREFECT_API_URL']}/health"), deadline_s=240)
        assert process.poll() is None, server_log.read_text()[-3000:]
        for command in (
            ["prefect", "work-pool", "create", "switchyard", "--type=process"],
            ["prefect", "--no-prompt", "deploy", "--all"],
        ):
            done = container.run(*command, **api)
            assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        with running(container, log=log, **api) as worker:
            wait_for(lambda: worker.poll() is not None or container.is_healthy(), deadline_s=180)
            assert worker.poll() is None, log.read_text()[-3000:]


def _migrate(environ: dict[str, str]) -> None:
    from switchyard.clients.results.migrate import migrate
    from switchyard.clients.settings import read_settings

    migrate(read_settings(environ))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
