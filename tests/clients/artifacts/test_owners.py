"""The suite of the port `ArtifactOwners`: what has files besides runs, in every kind of store."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from switchyard.clients.artifacts.owners import AnswersOwners, DatabaseOwners, ExportOwners
from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.export.from_tracking import Answers
from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.settings import read_settings
from switchyard.core.artifacts.owners import ArtifactOwner
from switchyard.core.errors import BadSetup
from switchyard.core.ports import ArtifactOwners
from tests.clients.artifacts.owner_rows import add_owners
from tests.clients.mlflow.export.answering import serve_store
from tests.clients.mlflow.folders import to_yaml, write_folder
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.core.mlflow.factories import make_run

RUN = make_run(run_id="a" * 32, epochs=1)
MODEL = ArtifactOwner(id="m-1", artifact_uri="mlflow-artifacts:/4/models/m-1", run_id="a" * 32)
TRACES = [ArtifactOwner(id=f"tr-{number}", artifact_uri=f"mlflow-artifacts:/4/traces/tr-{number}") for number in (0, 1)]


def make_store(folder: Path) -> Path:
    path = make_sqlite(folder / "mlflow.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        add_runs(connection, [RUN])
    return path


def make_database(folder: Path) -> str:
    path = make_store(folder)
    models = {MODEL.id: (MODEL.artifact_uri, MODEL.run_id)}
    add_owners(path, models, {trace.id: trace.artifact_uri for trace in TRACES})
    return f"sqlite:///{path}"


def open_database(folder: Path) -> ArtifactOwners:
    return DatabaseOwners(make_database(folder))


def open_export(folder: Path) -> ArtifactOwners:
    uri = (folder / "export").as_uri()
    export_store(make_database(folder), uri, FileObjects())
    return ExportOwners(uri, FileObjects())


def open_folder(folder: Path) -> ArtifactOwners:
    root = folder / "mlruns"
    write_folder(root.as_uri(), [RUN])
    meta = {"model_id": MODEL.id, "source_run_id": MODEL.run_id, "artifact_location": MODEL.artifact_uri}
    files = {"4/models/m-1/meta.yaml": to_yaml(meta), "4/traces/without/tags/other": b"x"}
    files |= {f"4/traces/{one.id}/tags/mlflow.artifactLocation": one.artifact_uri.encode() for one in TRACES}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return Outside(read_settings({"MLFLOW_TRACKING_URI": str(root)})).open_artifact_owners()


@contextmanager
def serve(folder: Path) -> Iterator[ArtifactOwners]:
    path = make_store(folder)
    info = {"model_id": MODEL.id, "experiment_id": RUN.info.experiment_id, "name": "model",
            "artifact_uri": MODEL.artifact_uri, "source_run_id": MODEL.run_id}  # fmt: skip
    with serve_store(path, is_3=True) as (emulator, store):
        emulator.beside.logged_models = [{"info": info, "data": {}}]
        emulator.beside.traces = len(TRACES)
        yield AnswersOwners(Answers(store, store, store))


@pytest.fixture(params=["database", "export", "folder", "server"])
def owners(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactOwners]:
    makers: dict[str, Callable[[Path], ArtifactOwners]] = {
        "database": open_database,
        "export": open_export,
        "folder": open_folder,
    }
    if request.param in makers:
        yield makers[request.param](tmp_path)
    else:
        with serve(tmp_path) as found:
            yield found


def test_logged_models_and_traces_are_told_with_their_places(owners: ArtifactOwners) -> None:
    """Each once; a trace that names no place has no files."""
    assert owners.list_models() == [MODEL]
    assert sorted(owners.list_traces(), key=lambda one: one.id) == TRACES


def test_a_store_of_mlflow_2_has_none(tmp_path: Path) -> None:
    """No such tables, and no such call."""
    path = make_store(tmp_path)
    database = DatabaseOwners(f"sqlite:///{path}")
    assert (database.list_models(), database.list_traces()) == ([], [])
    with serve_store(path) as (_, store):
        server = AnswersOwners(Answers(store, store, store))
        assert (server.list_models(), server.list_traces()) == ([], [])


def test_an_export_that_is_not_there_is_told(tmp_path: Path) -> None:
    """It is no store without owners."""
    with pytest.raises(BadSetup, match="name the folder"):
        ExportOwners((tmp_path / "no").as_uri(), FileObjects()).list_models()
