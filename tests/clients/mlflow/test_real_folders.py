"""Folders (`mlruns`) that MLflow's own clients have written, 2.9.2 and a current one, and MLflow's ways out of them.

`make test-mlflow` builds both and runs this.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect.settings import PREFECT_API_URL

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.file_store.registry import FolderSource
from switchyard.clients.mlflow.registry_sources import DatabaseSource
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.objects.open import open_objects
from switchyard.clients.settings import read_settings
from switchyard.core.mlflow.raw_run import RawRun, to_points, to_source_digest
from switchyard.core.ports import Tracking
from tests.clients.mlflow.real_servers import find_environment
from tests.root import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow]

VERSIONS = ("2.9.2", "current")
LOGGER = Path(__file__).with_name("log_to_folder.py")


def log(version: str, uri: str, phase: str) -> dict[str, Any]:
    """Logs by that version's client; what it then says of all runs."""
    done = run_in(version, "python", str(LOGGER), uri, phase)
    answers: dict[str, Any] = json.loads(done.splitlines()[-1])
    return answers


def run_in(version: str, *command: str) -> str:
    environment = find_environment(version)
    # 3.17.2 opens a folder only where it is told to.
    environ = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true", "GIT_PYTHON_REFRESH": "quiet"}
    program = [str(environment / command[0]), *command[1:]]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Folder(NamedTuple):
    """A folder that a client wrote, and what the client says of it in the end.

    `earlier` is the folder as it was before more was logged."""

    earlier: Path
    root: Path
    answers: dict[str, Any]


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Writes the folder with this version's client."""
    root = tmp_path_factory.mktemp("folder") / "mlruns"
    log(request.param, str(root), "first")
    earlier = shutil.copytree(root, root.with_name("earlier"))  # with the files' times
    return Folder(earlier, root, log(request.param, str(root), "more"))


def open_folder(root: Path) -> Tracking:
    return Outside(read_settings({"MLFLOW_TRACKING_URI": str(root)})).tracking


def read(tracking: Tracking) -> dict[str, RawRun]:
    with closing(tracking):
        found = list(tracking.read_runs([run.run_id for run in tracking.list_runs()]))
    assert all(isinstance(run, RawRun) for run in found), found
    return {run.info.run_id: run for run in found if isinstance(run, RawRun)}


def test_folder_says_what_its_own_client_says(folder: Folder) -> None:
    """Every point, param, tag and state, deleted runs too, to the last bit."""
    root, answers = folder.root, folder.answers
    found = read(open_folder(root))
    assert found.keys() == answers.keys()
    for run_id, run in found.items():
        info, answer = run.info, answers[run_id]
        assert [
            *(info.name, info.experiment_id, info.experiment, info.status, info.lifecycle),
            *(info.experiment_lifecycle, info.started_at_ms, info.ended_at_ms, info.artifact_uri),
        ] == answer["info"]
        assert (run.params, run.tags) == (answer["params"], answer["tags"])
        assert run.metrics.keys() == answer["metrics"].keys()
        for key, points in run.metrics.items():
            steps, times, values = map(list, zip(*answer["metrics"][key], strict=True))
            if info.name == "of a model":  # 3.17.2 reads step 0 for every point on a data set: mended, as SQL has it
                assert set(steps) == {0}
                steps = [0, 0, 1, 1]
            assert repr(points) == repr(to_points(steps, times, values))  # NaN, and the sign of zero


def test_migrated_folder_says_by_sql_what_the_folder_says(folder: Folder, tmp_path: Path) -> None:
    """`mlflow migrate-filestore` of the current version, over either folder, keeps digests, owners and models."""
    root = folder.root
    uri = f"sqlite:///{tmp_path / 'migrated.db'}"
    run_in("current", "mlflow", "migrate-filestore", "--source", str(root), "--target", uri)
    ours, theirs = read(open_folder(root)), read(open_store(uri))
    assert {run_id: to_source_digest(run) for run_id, run in ours.items()} == {
        run_id: to_source_digest(run) for run_id, run in theirs.items()
    }
    for run_id, run in ours.items():
        assert sorted(map(repr, run.owned)) == sorted(map(repr, theirs[run_id].owned))
    folder_source = FolderSource(root.as_uri(), open_objects(root.as_uri()))
    models = folder_source.read_models()
    assert [model.name for model in models] == ["shop"]
    assert models == DatabaseSource(uri).read_models()


def run_flow(*arguments: str, **settings: str) -> dict[str, Any]:
    """The answer of ``python -m flows``."""
    environ = os.environ | settings | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = [sys.executable, "-m", "flows", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.usefixtures("prefect_server")
def test_folder_is_followed_exported_and_left(folder: Folder, tmp_path: Path) -> None:
    """Backfill runs while it is used, again after more was logged and runs were deleted, and then the export.

    With the folder gone, all that is published is what the export says, value by value. The folder is only read."""
    root = tmp_path / "mlruns"
    settings = {"STATE_DIR": str(tmp_path / "state"), "MLFLOW_TRACKING_URI": str(root)}
    shutil.copytree(folder.earlier, root)
    first = run_flow("backfill", "--adopt", "--status", "all", **settings)
    assert (first["failed"], first["published"] > 3) == ({}, True)
    shutil.rmtree(root)
    shutil.copytree(folder.root, root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    second = run_flow("backfill", "--adopt", "--status", "all", **settings)
    assert second["failed"] == {}
    assert 0 < second["published"] < first["published"]  # what changed, and what is new
    exported = run_flow("export", **settings)
    assert exported["missing"] == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    shutil.rmtree(root)
    settings["MLFLOW_TRACKING_URI"] = ""
    found = run_flow("verify", "--whole", "--no-models", "--export-uri", exported["uri"], **settings)
    assert (found["differs"], found["missing"], found["unread"]) == ({}, {}, {}), found
    assert found["verified"] == found["looked_at"] > first["published"]


def test_database_of_an_earlier_schema_is_read_once_its_copy_is_upgraded(tmp_path: Path) -> None:
    """The command that the message names upgrades it; 2.9.2's own schema is upgraded the same way.

    The database that was copied is not touched."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    log("2.9.2", uri, "first")
    before = {run_id: to_source_digest(run) for run_id, run in read(open_store(uri)).items()}
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "mlflow.db").read_bytes())
    run_in("current", "mlflow", "db", "upgrade", f"sqlite:///{copy}")
    store = open_store(f"sqlite:///{copy}")
    assert "(schema dc11669786a5)" in store.describe()
    assert {run_id: to_source_digest(run) for run_id, run in read(store).items()} == before
    assert "(schema acf3f17fdcc7)" in open_store(uri).describe()
