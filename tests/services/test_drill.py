"""A drill over an export and a server that really answers: of the same store, and of one that lost something."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
import requests

from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.registry_sources import ExportSource
from switchyard.clients.mlflow.rest_store import RestStore
from switchyard.clients.objects.files import FileObjects
from switchyard.core.decommission.drilling import Drilled
from switchyard.services.drill import drill
from tests.clients.mlflow.any_store import make_runs
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread

OBJECTS = FileObjects()
RUNS = [run for name, run in make_runs().items() if name not in ("no status", "batches and validation")]
MODEL = """
    INSERT INTO registered_models (name, creation_time) VALUES ('m', 1);
    INSERT INTO model_versions (name, version, creation_time, source, run_id, current_stage, status)
        VALUES ('m', 1, 1, 'file:///m', '', 'Production', 'READY');
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = make_sqlite(tmp_path / "mlflow.db")
    with closing(sqlite3.connect(path)) as database:
        add_runs(database, RUNS)
        database.executescript(MODEL)
        database.commit()
    return path


@contextmanager
def serve(path: Path) -> Iterator[RestStore]:
    emulator = MlflowEmulator(path)
    try:
        with serve_in_thread(emulator.app) as url:
            store = RestStore(MlflowServer(url, requests.Session))
            yield store
            store.close()
    finally:
        emulator.close()


def run_drill(export_uri: str, path: Path, runs: int = 5) -> Drilled:
    exported = (open_export(export_uri, OBJECTS), ExportSource(export_uri, OBJECTS))
    with serve(path) as server:
        return drill(export_uri, schema="s", server="2.9.2", exported=exported, answered=(server, server), runs=runs)


def test_a_server_over_the_same_rows_differs_in_nothing(store: Path, tmp_path: Path) -> None:
    """Each run that is compared is named, and the models and versions are counted; a second drill says the same."""
    uri = (tmp_path / "export").as_uri()
    export_store(f"sqlite:///{store}", uri, OBJECTS)
    found = run_drill(uri, store)
    assert (found.differences, len(found.runs), found.of_runs) == ((), 5, len(RUNS))
    assert (found.equal_runs, found.models, found.versions, found.registry_equal) == (5, 1, 1, True)
    again = run_drill(uri, store)
    assert msgspec.structs.replace(again, drilled_at=found.drilled_at) == found


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "UPDATE metrics SET value = value + 1e-9 WHERE key = 'best_rmse'",
            "run {search}: the server tells other points",
        ),
        ("DELETE FROM params WHERE run_uuid = '{search}'", "run {search}: the server tells another param 'depth'"),
        ("DELETE FROM model_versions", "model m: version 1: the server does not have it"),
        (
            "DELETE FROM latest_metrics WHERE run_uuid = '{search}'; DELETE FROM metrics WHERE run_uuid = '{search}'; "
            "DELETE FROM params WHERE run_uuid = '{search}'; DELETE FROM tags WHERE run_uuid = '{search}'; "
            "DELETE FROM runs WHERE run_uuid = '{search}'",
            f"the export holds {len(RUNS)} runs, and the server has {len(RUNS) - 1}",
        ),
    ],
)
def test_what_a_restored_database_lost_is_named(store: Path, tmp_path: Path, statement: str, expected: str) -> None:
    """A bit of a value, a param, a version, a whole run."""
    search = make_runs()["a search"].info.run_id
    uri = (tmp_path / "export").as_uri()
    export_store(f"sqlite:///{store}", uri, OBJECTS)
    with closing(sqlite3.connect(store)) as database:
        database.executescript(statement.format(search=search))
        database.commit()
    found = run_drill(uri, store, runs=len(RUNS))
    assert found.differences[0].startswith(expected.format(search=search))
    assert (found.equal_runs == len(RUNS), found.registry_equal) == ("model" in expected, "model" not in expected)
