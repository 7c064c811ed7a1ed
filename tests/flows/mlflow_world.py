"""MLflow for the flows' tests: stores of given runs, by SQL or behind a server, and rows that name them."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.http import Patience
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.ports import ANY
from switchyard.core.runs.rows import NewRun
from tests.clients.mlflow.stores import POSTGRES_SCHEMA, add_runs, make_sqlite, restore, to_libpq
from tests.clients.results.places import NOW, run_sql
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread
from tests.postgres import Postgres


class _Clock:
    """Time that passes only by waiting."""

    now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.now_s += seconds


_CLOCK = _Clock()


class Impatient(Patience, frozen=True):
    """Waits by a clock of its own, and not long."""

    now: Callable[[], float] = _CLOCK.now
    pause: Callable[[float], None] = _CLOCK.pause
    cold_start_s: float = 5.0


def make_sqlite_store(path: Path, runs: Sequence[RawRun]) -> str:
    """The MLFLOW_BACKEND_STORE_URI of a file with these runs."""
    make_sqlite(path)
    with sqlite3.connect(path) as connection:
        add_runs(connection, list(runs))
    connection.close()
    return f"sqlite:///{path}"


def make_postgres_store(postgres: Postgres, runs: Sequence[RawRun]) -> str:
    """The same in a database of its own."""
    database = postgres.make_database()
    restore(postgres, database, POSTGRES_SCHEMA)
    with psycopg.connect(to_libpq(postgres.url(database))) as connection:
        add_runs(connection, list(runs))
    return postgres.url(database)


@contextmanager
def serve_store(path: Path, runs: Sequence[RawRun], **options: Any) -> Iterator[tuple[MlflowEmulator, str]]:
    """A server over these runs, and its address."""
    make_sqlite_store(path, runs)
    emulator = MlflowEmulator(path, **options)
    try:
        with serve_in_thread(emulator.app) as url:
            yield emulator, url
    finally:
        emulator.close()


def add_row(outside: Outside, mlflow_run_id: str = "", *, status: str = "completed", name: str = "row") -> int:
    """A row as another application made it: without a job, and with a folder that no one has written to."""
    run = outside.runs.create_run(NewRun(request_key=name, display_name=name), now=NOW)
    run_sql(
        outside.settings.results_url,
        "UPDATE quick_tests SET status = :status, mlflow_run_id = :run, gcs_artifacts_path = :folder WHERE id = :id",
        status=status,
        run=mlflow_run_id,
        folder=to_folder(outside, run.id),
        id=run.id,
    )
    return run.id


def to_folder(outside: Outside, quick_test_id: int) -> str:
    return f"{outside.settings.artifacts_uri}/quick_tests/{quick_test_id}"


def write_info(outside: Outside, quick_test_id: int, info: bytes | dict[str, Any]) -> None:
    """An mlflow_info.json beside the run's files."""
    folder = to_folder(outside, quick_test_id)
    data = info if isinstance(info, bytes) else msgspec.json.encode(info)
    outside.objects(folder).write(f"{folder}/mlflow_info.json", data, if_generation=ANY)


def write_metrics(outside: Outside, quick_test_id: int, data: bytes) -> None:
    """A training_metrics.json."""
    folder = to_folder(outside, quick_test_id)
    outside.objects(folder).write(f"{folder}/training_metrics.json", data, if_generation=ANY)


def read_published(outside: Outside, quick_test_id: int) -> dict[str, Any]:
    """The published history; empty where nothing is."""
    stored = outside.histories.read_history(quick_test_id).history_json
    found: dict[str, Any] = msgspec.json.decode(stored) if stored else {}
    return found
