"""The MLflow image's entry lines, each as the image's own user, over real MLflow of both versions.

The environment is empty otherwise. `make test-mlflow` runs this. The environments are those that it builds, of the
image's own pins. What is not tried by this: the base image, and Docker's layers.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from switchyard.clients.objects.open import open_objects
from tests.clients.mlflow.real_servers import find_environment
from tests.deployments.image import Container, find_obstacle
from tests.emulators.gcs import Gcs
from tests.flows.polling import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs_mlflow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(find_obstacle()), reason=find_obstacle() or "-"),
]
DATABASE = "/srv/mlflow/home/mlflow.db"
HOST = "mlflow.example"


def make(version: str, folder: Path) -> Container:
    """The image of that version, its environment in the place of the one that a build would install."""
    folder.mkdir(exist_ok=True)
    found = Container("mlflow", folder, venv=find_environment(version).parent)
    found.build()
    return found


def to_variables(**changes: str) -> dict[str, str]:
    return {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{DATABASE}",
        "MLFLOW_ARTIFACTS_DESTINATION": "/srv/mlflow/home/artifacts",
        "MLFLOW_SERVER_ALLOWED_HOSTS": HOST,
        "MLFLOW_BEHIND": "proxy",
    } | changes


@contextlib.contextmanager
def serving(container: Container, log: Path, **changes: str) -> Iterator["subprocess.Popen[Any]"]:
    """CMD, once the HEALTHCHECK says that it is up; ended as `docker stop` does it: SIGTERM to the one process."""
    process = container.start(log=log, **to_variables(**changes))
    try:
        wait_for(lambda: process.poll() is not None or container.is_healthy(), deadline_s=180)
        assert process.poll() is None, log.read_text()[-3000:]
        yield process
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()[-3000:]
        assert not list_of_group(container)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def list_of_group(container: Container) -> list[str]:
    """The processes that still listen on the container's port, by their command lines."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if f"--port {container.port}" in line]


@pytest.mark.parametrize("version", ["2.9.2", "current"])
def test_each_entry_line_does_what_it_says(version: str, tmp_path: Path, gcs: Gcs, gcs_root: str) -> None:
    """Without variables it says what it needs; it serves no empty database, and makes one once.

    It serves runs and artifacts to the hosts that are named, and ends at SIGTERM with nothing left behind. The older
    one keeps artifacts in a folder, the newer one in a bucket of our endpoint for Cloud Storage.
    """
    bucket = {} if version == "2.9.2" else {**gcs.environ, "MLFLOW_ARTIFACTS_DESTINATION": gcs_root}
    container = make(version, tmp_path)
    bare = container.run()
    assert bare.returncode == 2
    for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "ALLOWED_HOSTS", "MLFLOW_BEHIND"):
        assert name in bare.stdout
    assert "Traceback" not in bare.stderr
    empty = container.run("serve", **to_variables())
    assert (empty.returncode, "the database is empty" in empty.stdout) == (1, True), empty.stderr
    made = container.run("upgrade", **to_variables())
    assert (made.returncode, "it was empty" in made.stdout) == (0, True), made.stderr
    again = container.run("upgrade", **to_variables())
    assert (again.returncode, "nothing was done" in again.stdout) == (0, True), again.stderr
    with serving(container, tmp_path / "server.log", **bucket):
        api = f"http://127.0.0.1:{container.port}/api/2.0"
        found = requests.get(f"{api}/mlflow/experiments/search?max_results=1", headers={"Host": HOST}, timeout=60)
        assert found.json()["experiments"][0]["artifact_location"].startswith("mlflow-artifacts:/")
        file = f"{api}/mlflow-artifacts/artifacts/0/run/artifacts/a.txt"
        requests.put(file, data=b"kept", headers={"Host": HOST}, timeout=60).raise_for_status()
        assert requests.get(file, headers={"Host": HOST}, timeout=60).content == b"kept"
        for host in ("10.evil.example", "127.0.0.1"):
            other = requests.get(f"{api}/mlflow/experiments/search?max_results=1", headers={"Host": host}, timeout=60)
            assert other.status_code == (200 if version == "2.9.2" else 403)  # 2.9.2 checks no hosts, and says so
    assert "Traceback" not in (tmp_path / "server.log").read_text()
    if bucket:
        assert open_objects(gcs_root).read(f"{gcs_root}/0/run/artifacts/a.txt")[0] == b"kept"
        return
    written = container._files / "mlflow" / "home" / "artifacts" / "0/run/artifacts/a.txt"
    assert (written.read_bytes(), written.stat().st_uid) == (b"kept", 10001)


def test_a_database_of_2_9_2_is_upgraded_by_a_person_and_not_by_a_start(tmp_path: Path) -> None:
    """MLflow 3 would migrate it as it starts.

    Refused, it is byte for byte what it was; once it is upgraded, the older server refuses it.
    """
    old, new = make("2.9.2", tmp_path / "old"), make("current", tmp_path / "new")
    assert old.run("upgrade", **to_variables()).returncode == 0
    database = old._files / "mlflow/home/mlflow.db"
    before = database.read_bytes()
    there = new._files / "mlflow/home/mlflow.db"
    there.write_bytes(before)
    os.chown(there, 10001, 10001)
    refused = new.run("serve", **to_variables())
    assert (refused.returncode, "Take a backup, then run this program with `upgrade`" in refused.stdout) == (1, True)
    assert there.read_bytes() == before
    upgraded = new.run("upgrade", **to_variables())
    assert (upgraded.returncode, "it had acf3f17fdcc7" in upgraded.stdout) == (0, True), upgraded.stderr
    database.write_bytes(there.read_bytes())
    newer = old.run("serve", **to_variables())
    assert (newer.returncode, "which is newer" in newer.stdout) == (1, True), newer.stderr
