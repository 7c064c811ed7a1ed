"""The flows export and restore, and their command lines."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_API_URL

from flows.export import export
from flows.restore import restore
from switchyard.clients.connect import Outside, connect
from switchyard.clients.mlflow.export.writer import read_export
from switchyard.core.errors import BadRequest, BadSetup, NotFound
from switchyard.core.mlflow.raw_run import RawRun, to_source_digest
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.core.mlflow.factories import make_run

RUNS = [make_run(run_id=letter * 32, epochs=4, artifact_uri=f"/on/the/server/{letter}") for letter in "abcd"]


@pytest.fixture
def store(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow database of RUNS, as the settings name it."""
    path = make_sqlite(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        add_runs(connection, RUNS)
    connection.close()
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{path}")
    return f"sqlite:///{path}"


def run_flow(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | settings | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "COLUMNS": "120"}
    command = [sys.executable, "-m", "flows", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240)


def read_artifacts(*keys: str) -> dict[str, Any]:
    """The newest Prefect artifact of each key."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=list(keys))))
    return {artifact.key or "": artifact for artifact in reversed(found)}


def source_digests() -> dict[str, str]:
    tracking = connect().tracking
    try:
        found = tracking.read_runs([run.info.run_id for run in RUNS])
        return {run.info.run_id: to_source_digest(run) for run in found if isinstance(run, RawRun)}
    finally:
        tracking.close()


def test_export_and_restore_make_the_database_anew(
    prefect_server: None, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exported beside the artifacts, the source deleted, restored into an empty file: the same runs, to the bit.

    What a person sees in Prefect says how far it is, and what there is.
    """
    expected = source_digests()
    result = export(part_rows=1_000)
    assert result.uri == f"{connect().settings.artifacts_uri}/mlflow-export"
    assert (result.written, result.parts, result.locations) == (result.parts, result.parts, 4)
    Path(store.removeprefix("sqlite:///")).unlink()
    new = f"sqlite:///{tmp_path / 'new.db'}"
    monkeypatch.setenv("MLFLOW_RESTORE_STORE_URI", new)
    restored = restore()
    assert (restored.filled, restored.rows) == (True, result.rows)
    assert restore().filled is False
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", new)
    assert source_digests() == expected
    again = export(part_rows=1_000)
    assert (again.written, again.taken_at) == (0, result.taken_at)
    shown = read_artifacts("export", "export-progress", "restore")
    assert {row["table"]: row["rows"] for row in json.loads(shown["export"].data)}["runs"] == len(RUNS)
    assert shown["export-progress"].data == 100.0
    assert shown["restore"].type == "table"


def test_command_lines_show_tables_and_answer_json(prefect_server: None, store: str, tmp_path: Path) -> None:
    """How far it is and a table of what was exported; --json: one line."""
    uri = (tmp_path / "export").as_uri()
    done = run_flow("export", "--to-uri", uri)
    assert done.returncode == 0, done.stderr
    for said in ("latest_metrics", "(artifacts' locations)", f"exported to {uri}", "checking "):
        assert said in done.stdout, said
    assert read_export(uri, connect().objects(uri)).table("runs").rows == len(RUNS)
    done = run_flow("restore", "--from-uri", uri, "--json", MLFLOW_RESTORE_STORE_URI=f"sqlite:///{tmp_path / 'new.db'}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["filled"] is True


@pytest.mark.parametrize(
    ("flow", "settings", "error", "words"),
    [
        (export, {"MLFLOW_BACKEND_STORE_URI": ""}, BadSetup, "MLFLOW_BACKEND_STORE_URI .* it is not set"),
        (export, {"MLFLOW_BACKEND_STORE_URI": "mssql://u:s3cret@h/d"}, BadSetup, "no other store can be exported"),
        (export, {"MLFLOW_BACKEND_STORE_URI": "sqlite:////none/mlflow.db"}, BadSetup, "there is no such file"),
        (restore, {}, NotFound, "no finished export is at .*mlflow-export"),
    ],
)
def test_bad_setup_fails_the_flow_and_names_the_setting(
    prefect_server: None,
    store: str,
    flow: Any,
    settings: dict[str, str],
    error: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not set, another database, not there, no export: each at once, without a try again."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match=words) as raised:
        flow()
    assert "s3cret" not in str(raised.value)


def test_restore_refuses_what_it_could_harm(
    prefect_server: None, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database with something else in it, one of another kind, a damaged export: the flow fails, nothing changes."""
    result = export()
    monkeypatch.setenv("MLFLOW_RESTORE_STORE_URI", "postgresql://user:s3cret@127.0.0.1:1/mlflow")
    with pytest.raises(BadRequest, match="an export of sqlite can only be restored into sqlite"):
        restore()
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    before = other.read_bytes()
    monkeypatch.setenv("MLFLOW_RESTORE_STORE_URI", f"sqlite:///{other}")
    with pytest.raises(BadRequest, match="is neither an empty database nor exactly this export"):
        restore()
    assert other.read_bytes() == before
    objects = connect().objects(result.uri)
    [part] = read_export(result.uri, objects).table("metrics").parts
    objects.write(f"{result.uri}/{part.name}", b"damaged", if_generation=part.generation)
    new = tmp_path / "new.db"
    done = run_flow("restore", MLFLOW_RESTORE_STORE_URI=f"sqlite:///{new}")
    assert done.returncode == 1
    assert done.stderr.startswith("restore failed: ")
    assert part.name in done.stderr
    assert "Traceback" not in done.stderr
    with sqlite3.connect(new) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()
