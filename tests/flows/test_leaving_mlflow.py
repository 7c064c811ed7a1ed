"""docs/mlflow.md from top to bottom: every command, in its order, takes a team off MLflow with nothing lost."""

import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from flows.__main__ import main, read_command
from switchyard.clients.results.open import open_results
from switchyard.core.verify.manifest import Manifest, read_manifest
from tests.clients.mlflow.stores import add_runs
from tests.core.mlflow.factories import make_run
from tests.root import ROOT
from tests.services.import_world import make_store

BACKUP = "file:///backup/mlflow-export"


def list_commands() -> list[list[str]]:
    """What stands after ``switchyard`` in the page's blocks, in order."""
    text = (ROOT / "docs" / "mlflow.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def test_each_command_is_one_that_there_is() -> None:
    """With flags that it takes."""
    commands = list_commands()
    assert len(commands) > 12
    for arguments in commands:
        assert read_command(arguments).flow.startswith(arguments[0])


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs with artifacts, one of them deleted; a registry of two models; a data set; and a tag of an experiment."""
    store = make_store(tmp_path, names=("shop", "two"))
    folders = {letter: tmp_path / "mlruns" / letter for letter in "abc"}
    for letter, folder in folders.items():
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text(f"of {letter}")
    with closing(sqlite3.connect(store)) as connection, connection:
        runs = [make_run(run_id=letter * 32, epochs=3, artifact_uri=str(folder)) for letter, folder in folders.items()]
        deleted = msgspec.structs.replace(runs[2], info=msgspec.structs.replace(runs[2].info, lifecycle="deleted"))
        add_runs(connection, [*runs[:2], deleted])
        connection.execute(
            "INSERT INTO datasets VALUES "
            "('d', (SELECT min(experiment_id) FROM experiments), 'n', 'x', 't', 's', '', '')"
        )
        connection.execute(
            "INSERT INTO experiment_tags VALUES ('owner', 'ann', (SELECT min(experiment_id) FROM experiments))"
        )
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{store}")
    return store


def test_the_page_leads_off_mlflow(mlflow: Path, tmp_path: Path, prefect_server: None) -> None:
    """Each command ends well, told where artifacts' folders are, as the page says.

    At the end the store is gone, and the export alone proves that nothing was lost.
    """
    backup = (tmp_path / "backup").as_uri()
    last: list[str] = []
    for arguments in list_commands():
        last = [backup if part == BACKUP else part for part in arguments]
        if last[0] in ("artifacts", "import-models"):
            last += ["--artifacts-roots", str(tmp_path / "mlruns"), "--artifacts-roots", str(tmp_path / "artifacts")]
        assert main(last) == 0, arguments
    mlflow.unlink()
    assert main(["verify", "--whole", "--require-safe", "--export-uri", backup]) == 0
    manifests = (tmp_path / "state" / "artifacts" / "manifests").iterdir()
    manifest: Manifest = read_manifest(max(manifests, key=lambda path: path.stat().st_mtime_ns).read_bytes(), "it")
    assert manifest.verdict.safe
    assert [(kind.kind, kind.missing) for kind in manifest.kinds] == [
        (name, {}) for name in ("registry", "datasets", "experiment-tags", "artifacts")
    ]
    ours = open_results(f"sqlite:///{tmp_path / 'state' / 'results.db'}")
    assert [model.name for model in ours.models.list_models()] == ["shop", "two"]
    ours.close()
