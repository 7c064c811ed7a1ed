"""MLflow servers to export from: a store in an SQLite file with something of everything, and the emulator over it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from switchyard.clients.mlflow.export.from_tracking import Answers, export_answers
from switchyard.clients.mlflow.http import MlflowServer, Patience
from switchyard.clients.mlflow.rest_store import RestStore
from switchyard.clients.objects.open import open_objects
from switchyard.core.mlflow.raw_run import RawRun
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.core.mlflow.factories import INF, NAN, make_info, make_points, make_run, make_series, make_small
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread

RUNS = [
    make_run(run_id="a" * 32, epochs=4, artifact_uri="mlflow-artifacts:/4/a/artifacts"),
    make_small(
        {"loss": make_points((0, 3.0), (0, 500, 2.5), (1, INF), (2, NAN)), "weight_norm": make_points((0, -INF))},
        info=make_info(run_id="b" * 32, name="", status="RUNNING", ended_at_ms=None),
        tags={"mlflow.runName": "Übung 训练 🚀", "note": "tab\there, new\nline"},
    ),
    make_small({}, info=make_info(run_id="c" * 32, status="KILLED", lifecycle="deleted")),
    make_run(
        run_id="d" * 32, experiment_id="7", experiment="Отчёты", experiment_lifecycle="deleted", lifecycle="deleted"
    ),
    make_small({"batch_loss": make_series([i / 7 for i in range(2_500)])}, info=make_info(run_id="e" * 32)),
]
"""A deleted run, one of a deleted experiment, one that goes on; odd values and odd texts."""
_REST: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/' || experiment_id, last_update_time = 5", ()),
    ("INSERT INTO experiments VALUES (99, 'nothing in it', 's3://b/99', 'deleted', 6, 7)", ()),
    ("INSERT INTO experiment_tags VALUES ('team', 'über', 7), ('note', '', 7)", ()),
    ("INSERT INTO datasets VALUES ('u1', 4, 'sales', 'd1', 'local', '{\"uri\": \"x\"}', '{\"s\": 1}', NULL)", ()),
    ("INSERT INTO datasets VALUES ('u2', 7, 'sales', 'd1', 'local', '{\"uri\": \"y\"}', NULL, '{\"rows\": 3}')", ()),
    ("INSERT INTO datasets VALUES ('u3', 7, 'unused', 'd9', 'local', '{}', NULL, NULL)", ()),
    ("INSERT INTO inputs VALUES ('i1', 'DATASET', 'u1', 'RUN', ?)", ("a" * 32,)),
    ("INSERT INTO inputs VALUES ('i2', 'DATASET', 'u1', 'RUN', ?)", ("e" * 32,)),
    ("INSERT INTO inputs VALUES ('i3', 'DATASET', 'u2', 'RUN', ?)", ("d" * 32,)),
    ("INSERT INTO input_tags VALUES ('i1', 'mlflow.data.context', 'training'), ('i3', 'k', 'v')", ()),
    ("INSERT INTO registered_models VALUES ('it''s', 1, 2, 'ünï'), ('shop', 3, 4, NULL), ('prompt', 5, 6, NULL)", ()),
    ("INSERT INTO registered_model_tags VALUES ('team', 'ü', 'shop')", ()),
    ("INSERT INTO registered_model_tags VALUES ('mlflow.prompt.is_prompt', 'true', 'prompt')", ()),
    ("INSERT INTO registered_model_aliases VALUES ('champion', 3, 'shop')", ()),
    (
        "INSERT INTO model_versions VALUES ('shop', 1, 10, 11, 'd', 'ann', 'Archived', 'runs:/' || ? || '/model', ?, "
        "'READY', NULL, NULL, NULL), ('shop', 3, 12, 13, NULL, NULL, 'Production', 's3://b/3', NULL, 'READY', NULL, "
        "NULL, NULL), ('prompt', 1, 14, 15, NULL, NULL, 'None', 'x', NULL, 'READY', NULL, NULL, NULL)",
        ("a" * 32, "a" * 32),
    ),
    ("INSERT INTO model_version_tags VALUES ('k', 'v', 'shop', 3), ('mlflow.prompt.text', 'Hi', 'prompt', 1)", ()),
)  # fmt: skip


def make_store(path: Path, runs: list[RawRun] | None = None) -> Path:
    """A store of those runs (RUNS), with data sets, a registry and tags."""
    make_sqlite(path)
    with sqlite3.connect(path) as connection:
        add_runs(connection, RUNS if runs is None else runs)
        for statement, values in _REST if runs is None else ():
            connection.execute(statement, values)
    connection.close()
    return path


class Waits:
    """Waiting that takes no time."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def pause(self, seconds: float) -> None:
        self.now_s += seconds


def open_store(url: str) -> RestStore:
    """The server's, which waits for nothing."""
    waits = Waits()
    patience = Patience(now=lambda: waits.now_s, pause=waits.pause)
    return RestStore(MlflowServer(url, requests.Session, patience=patience))


@contextmanager
def serve_store(path: Path, *, is_3: bool = False, token: str = "") -> Iterator[tuple[MlflowEmulator, RestStore]]:
    """A server over the store, and its reader."""
    emulator = MlflowEmulator(path, pages_histories=is_3, token=token)
    try:
        with serve_in_thread(emulator.app) as url:
            store = open_store(url)
            try:
                yield emulator, store
            finally:
                store.close()
    finally:
        emulator.close()


def export_server(store: RestStore, to_uri: str, **options: object) -> object:
    """Exports what the server tells; see `export_answers`."""
    return export_answers(Answers(store, store, store), to_uri, open_objects(to_uri), **options)  # type: ignore[arg-type]
