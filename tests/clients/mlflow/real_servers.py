"""Real MLflow servers, 2.9.2 and a current one, each in an environment of its own that `make test-mlflow` builds."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.emulators.server import listen
from tests.root import ROOT

START_S = 180


def find_environment(version: str) -> Path:
    """The version's environment; the test is skipped where `make test-mlflow` has not built it."""
    found = ROOT / ".switchyard" / f"mlflow-{version}" / "bin"
    if not (found / "mlflow").exists():
        pytest.skip(f"no MLflow {version} at {found}: make test-mlflow builds it")
    return found


@contextmanager
def serve(version: str, store_uri: str, folder: Path, *, workers: int = 0) -> Iterator[str]:
    """A server of that version over the store; `workers` 0: two of gunicorn's, one of uvicorn's, which answers many."""
    workers = workers or (2 if version == "2.9.2" else 1)
    environment = find_environment(version)
    folder.mkdir(exist_ok=True)
    listening, url = listen(0)
    listening.close()
    log = folder / "server.log"
    command = [
        str(environment / "mlflow"),
        "server",
        *("--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--workers", str(workers)),
        *("--backend-store-uri", store_uri, "--artifacts-destination", str(folder / "artifacts")),
    ]
    # mlflow starts gunicorn or uvicorn by name. Its jobs, which take three processes, are off as in
    # deployments/mlflow/entrypoint.py.
    environ = os.environ | {
        "PATH": f"{environment}:{os.environ['PATH']}",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while not _is_up(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=60)


def _is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).status_code == 200
    except requests.RequestException:
        return False
