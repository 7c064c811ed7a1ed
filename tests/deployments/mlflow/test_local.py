"""`make mlflow`: the real server over the real Postgres, with what it keeps and how it ends.

`make test-mlflow` runs what is slow.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import requests

from deployments.mlflow import local
from switchyard.clients.mlflow.http import MlflowServer, Patience
from switchyard.clients.mlflow.log import Access, RunOrder, open_log
from switchyard.clients.mlflow.rest import RestTracking
from switchyard.core.history.digest import to_digests
from switchyard.core.metrics.reading import read_record
from switchyard.core.mlflow.logged import LoggedPoint, choose_shared
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from tests.clients.mlflow.real_servers import find_environment
from tests.deployments.image import find_free_port
from tests.root import ROOT
from tests.trainer.factories import TINY_FLAGS

START_S = 180
ORDER = RunOrder(experiment="two towers", name="quick-test-7", training="0a1b", tags={})


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder with a short path: a socket's may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="sy-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def to_command(port: int) -> list[str]:
    """As the Makefile has it."""
    (line,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "deployments.mlflow.local" in line]
    module = line.split("python -m ")[1].split()[0]
    return [sys.executable, "-m", module, "--environment", str(find_environment("current").parent), f"--port={port}"]


@contextmanager
def running(state: Path, port: int) -> Iterator[dict[str, str]]:
    """The command, once it is ready: the lines that it says then, by their first word.

    Ended by Ctrl-C, as in a terminal: to its whole group.
    """
    log = state / "log"
    # What a person has set names another MLflow, and must not reach this one.
    environ = os.environ | {"STATE_DIR": str(state), "MLFLOW_TRACKING_URI": "http://elsewhere", "MLFLOW_WORKERS": "9"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            to_command(port), cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while "\nread its database: " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield dict(
            line.split(": ", 1) for line in log.read_text().splitlines() if line.startswith(("ready", "train", "read"))
        )
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()


def read_runs(url: str, experiment: str) -> list[RawRun]:
    tracking = RestTracking(MlflowServer(url, requests.Session))
    try:
        ids = [run.run_id for run in tracking.list_runs(experiments=[experiment])]
        return [run for run in tracking.read_runs(ids) if isinstance(run, RawRun)]
    finally:
        tracking.close()


def read_folder(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def train(folder: Path, url: str) -> "subprocess.CompletedProcess[str]":
    """The trainer's own process, which has no mlflow package."""
    flags = [*TINY_FLAGS, "--tracker=both", "--mlflow-model", "--quick-test-id=12", "--key=abc"]
    return subprocess.run(
        [sys.executable, "-m", "trainer", f"--artifacts-uri={folder.as_uri()}", *flags],
        cwd=ROOT,
        env=os.environ | {"MLFLOW_TRACKING_URI": url},
        capture_output=True,
        text=True,
        timeout=START_S,
    )


@pytest.mark.slow
@pytest.mark.needs_mlflow
@pytest.mark.timeout(600)
def test_what_was_logged_is_there_again(state: Path) -> None:
    """A run in Postgres, and a training's with its model in a folder, outlive the server.

    Ctrl-C leaves no process, and no port taken.
    """
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    with running(state, port) as said:
        assert said["ready"].startswith(f"{url} ")
        assert said["train"].startswith(f"MLFLOW_TRACKING_URI={url} ")
        assert said["train"].endswith("switchyard train --tracker both")
        run = open_log(Access(uri=url), ORDER, now_ms=1, patience=Patience())
        run.log_points([LoggedPoint("loss", 0, 0.25)], 1)
        run.end("FINISHED", 2)
        run.close()
        file = f"{url}/api/2.0/mlflow-artifacts/artifacts/1/{run.run_id}/artifacts/a.txt"
        requests.put(file, data=b"kept", timeout=60).raise_for_status()
        done = train(state / "run", url)
        assert (done.returncode, done.stderr, "WARNING" in done.stdout) == (0, "", False), done.stdout
        (trained,) = read_runs(url, "Default")
        assert (trained.info.status, trained.tags["switchyard.model"][:7]) == ("FINISHED", "sha256:")
        record = read_record((state / "run" / "training_metrics.json").read_bytes(), where="the file")
        assert choose_shared(to_digests(from_points(trained)).series) == choose_shared(to_digests(record).series)
        other = subprocess.run(
            to_command(find_free_port()),
            cwd=ROOT,
            env=os.environ | {"STATE_DIR": str(state)},
            capture_output=True,
            text=True,
        )
        assert (other.returncode, "is running already" in other.stdout) == (1, True), other.stdout
        database = said["read its database"].removeprefix("MLFLOW_BACKEND_STORE_URI=").strip("'")
        with psycopg.connect(database) as connection:
            assert connection.execute("SELECT value FROM metrics WHERE run_uuid = %s", (run.run_id,)).fetchall() == [
                (0.25,)
            ]
    assert (state / f"mlflow/artifacts/1/{run.run_id}/artifacts/a.txt").read_bytes() == b"kept"
    put = state / f"mlflow/artifacts/0/{trained.info.run_id}/artifacts/model"
    assert read_folder(put) == read_folder(state / "run" / "model")
    assert "saved_model.pb" in read_folder(put)
    local.check_port(port)
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in lines if str(state) in line] == []
    with running(state, port):
        found = open_log(Access(uri=url), ORDER, now_ms=3, patience=Patience())
        found.close()
        assert (found.run_id, found.latest["loss"].value) == (run.run_id, 0.25)
        assert requests.get(file, timeout=60).content == b"kept"


def test_a_taken_port_is_said_before_anything_is_started(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the command that names another; no folder is made."""
    monkeypatch.setenv("STATE_DIR", str(state))
    environment = state / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert local.main([f"--port={port}", f"--environment={environment}"]) == 1
    assert f"make mlflow MLFLOW=--port={port + 1}" in capsys.readouterr().out
    assert not (state / "mlflow").exists()


def test_without_its_environment_the_command_that_makes_it_is_said(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make mlflow` installs it; the module alone does not."""
    monkeypatch.setenv("STATE_DIR", str(state))
    assert local.main([]) == 1
    assert "has no MLflow. Make it, and start: make mlflow" in capsys.readouterr().out


def test_nothing_of_another_mlflow_reaches_the_server() -> None:
    """A person's own MLFLOW_... variables name the server they work with, and not this one."""
    variables = {
        "MLFLOW_TRACKING_URI": "https://production",
        "MLFLOW_BACKEND_STORE_URI": "postgresql://p",
        "PATH": "/bin",
    }
    made = local.to_environment(variables, database="postgresql:///x", artifacts=Path("/a"), port=5000)
    assert "production" not in str(made)
    assert made["MLFLOW_BACKEND_STORE_URI"] == "postgresql:///x"
    assert made["PATH"] == "/bin"
