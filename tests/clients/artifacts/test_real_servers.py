"""Artifacts behind real MLflow servers, 2.9.2 and a current one, which hand them through.

`make test-mlflow` runs this.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.artifacts.places import to_allowed
from switchyard.core.artifacts.plan import How
from switchyard.core.errors import TryAgain
from switchyard.services import artifact_copying
from switchyard.services.artifacts import copy_runs, find_runs, plan_runs, verify_runs
from tests.clients.mlflow.real_servers import find_environment, serve

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.timeout(900)]

FILES = {
    "a.txt": b"a",
    "model/data/weights.bin": bytes(range(256)) * 20_000,
    "plots/Größe 1%.png": b"png",
    **{f"many/{number:03}": b"%d" % number for number in range(25)},
}


@pytest.fixture(scope="module", params=["2.9.2", "current"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that hands artifacts through, and the folder that it keeps them in."""
    folder = tmp_path_factory.mktemp("server")
    with serve(request.param, f"sqlite:///{folder / 'mlflow.db'}", folder, workers=1) as url:
        yield url, folder / "artifacts"


@pytest.fixture
def outside(server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    for name in [*CLIENT_SETTINGS, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"]:  # put back after the test
        monkeypatch.setenv(name, os.environ.get(name, ""))
    made = Outside(read_settings({"STATE_DIR": str(tmp_path / "state"), "MLFLOW_TRACKING_URI": server[0]}))
    migrate(made.settings)
    yield made
    made.close()


def log_run(url: str, name: str, files: dict[str, bytes]) -> dict[str, Any]:
    """A run of an experiment of that name, with these artifacts, as any client would log them; what MLflow says."""
    made = requests.post(f"{url}/api/2.0/mlflow/experiments/create", json={"name": name}, timeout=60).json()
    asked = {"experiment_id": made["experiment_id"], "start_time": 1}
    run = requests.post(f"{url}/api/2.0/mlflow/runs/create", json=asked, timeout=60).json()["run"]["info"]
    assert run["artifact_uri"].startswith("mlflow-artifacts:/")
    path = run["artifact_uri"].removeprefix("mlflow-artifacts:/").lstrip("/")
    for file, data in files.items():
        address = f"{url}/api/2.0/mlflow-artifacts/artifacts/{path}/{requests.utils.quote(file)}"  # type: ignore[attr-defined]
        requests.put(address, data=data, timeout=60).raise_for_status()
    info: dict[str, Any] = run
    return info


LOG_OWNERS = """
import sys, mlflow, pathlib
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment(sys.argv[2])
folder = pathlib.Path(sys.argv[3])
folder.mkdir()
(folder / "weights.bin").write_bytes(b"w" * 1000)
with mlflow.start_run():
    model = mlflow.initialize_logged_model(name="shop")
    mlflow.MlflowClient().log_model_artifacts(model.model_id, str(folder))
    mlflow.finalize_logged_model(model.model_id, "READY")
with mlflow.start_span(name="predict") as span:
    span.set_inputs({"x": 1})
mlflow.flush_trace_async_logging()
print(model.model_id, mlflow.get_last_active_trace_id())
"""
"""Logs, as a client of MLflow 3 does, a logged model of a run, and a trace; prints their ids."""


def how(tmp_path: Path, url: str, **changes: Any) -> How:
    values: dict[str, Any] = {"to_uri": (tmp_path / "copies").as_uri(), "server": url, "concurrency": 4}
    values["allowed"] = to_allowed([changes.get("destination", "")], [])
    return How(**(values | changes))


def test_a_servers_artifacts_are_copied_through_it(server: tuple[str, Path], outside: Outside, tmp_path: Path) -> None:
    """MLflow's own repository plans and copies them once, and compares them with their source.

    Where the server is said to keep them, they are read from there: the same."""
    url, folder = server
    info = log_run(url, f"through {tmp_path.name}", FILES)
    [run] = find_runs(outside, all_runs=True, experiments=[f"through {tmp_path.name}"])
    assert run.artifact_uri == info["artifact_uri"]
    [plan] = plan_runs(outside, [run], how(tmp_path, url))
    assert (plan.reader, plan.objects, plan.size_bytes) == ("mlflow", len(FILES), sum(map(len, FILES.values())))
    [done] = copy_runs(outside, [run], how(tmp_path, url))
    assert (done.state, done.objects, done.copied) == ("copied", len(FILES), len(FILES))
    [again] = copy_runs(outside, [run], how(tmp_path, url))
    assert (again.state, again.copied) == ("unchanged", 0)
    [found] = verify_runs(outside, [run], how(tmp_path, url), against_source=True)
    assert (found.state, found.problems) == ("kept", ())
    direct = how(tmp_path, url, to_uri=(tmp_path / "direct").as_uri(), destination=folder.as_uri())
    [other] = copy_runs(outside, [run], direct)
    assert (other.state, other.objects) == ("copied", len(FILES))
    for kind in ("copies", "direct"):
        names = {path.name for path in (tmp_path / kind / "objects").rglob("*") if path.is_file()}
        assert len(names) == len(set(FILES.values()))


def test_a_server_that_goes_away_costs_what_was_not_copied(
    server: tuple[str, Path], outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as what may pass; the same call goes on where it was."""
    url, _ = server
    log_run(url, f"away {tmp_path.name}", FILES)
    [run] = find_runs(outside, all_runs=True, experiments=[f"away {tmp_path.name}"])
    store, stored = artifact_copying.Copying.store, []

    def lose(self: Any, file: Any, sha256: str, size_bytes: int) -> None:
        store(self, file, sha256, size_bytes)
        stored.append(sha256)
        if len(stored) == 10:
            monkeypatch.setattr("requests.Session.send", _refuse)

    def _refuse(*_: object, **__: object) -> None:
        raise requests.ConnectionError("refused")

    with monkeypatch.context() as patched:
        patched.setattr(artifact_copying.Copying, "store", lose)
        with pytest.raises(TryAgain):
            copy_runs(outside, [run], how(tmp_path, url))
    monkeypatch.undo()
    [done] = copy_runs(outside, [run], how(tmp_path, url))
    assert (done.state, done.objects) == ("copied", len(FILES))
    assert 0 < done.copied <= len(FILES) - 10


def test_logged_models_and_traces_of_mlflow_3_are_copied(outside: Outside, tmp_path: Path) -> None:
    """By the server's own answers, and by its own client's files: found, copied and verified."""
    python = find_environment("current") / "python"
    folder = tmp_path / "server"
    with serve("current", f"sqlite:///{tmp_path / 'mlflow.db'}", folder, workers=1) as url:
        command = [str(python), "-c", LOG_OWNERS, url, "owners", str(tmp_path / "logged")]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
        model_id, trace_id = said.split("\n")[-2].split()
        store = Outside(
            read_settings({"STATE_DIR": str(tmp_path / "state"), "MLFLOW_TRACKING_URI": url})  # with the same results
        )
        runs = {run.mlflow_run_id: run for run in find_runs(store, all_runs=True)}
        assert runs[model_id].artifact_uri.startswith("mlflow-artifacts:/")
        assert runs[trace_id].artifact_uri.startswith("mlflow-artifacts:/")
        wanted = [runs[model_id], runs[trace_id]]
        done = copy_runs(store, wanted, how(tmp_path, url))
        assert (done[0].state, done[0].objects) == ("copied", 1)
        assert done[1].state in ("copied", "nothing")  # its spans are in the database, or a file
        verified = verify_runs(store, wanted, how(tmp_path, url), against_source=True)
        assert {one.state for one in verified} <= {"kept", "nothing"}
        database = {"STATE_DIR": str(tmp_path / "state"), "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/mlflow.db"}
        assert {run.mlflow_run_id for run in find_runs(Outside(read_settings(database)), all_runs=True)} == set(runs)
