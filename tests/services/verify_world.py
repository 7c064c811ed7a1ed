"""A published copy of the legacy database for verify's tests: what a test damages of it is its own."""

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.backfill.plan import How, Item
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.ports import ANY
from switchyard.core.runs.rows import RunStatus
from switchyard.core.verify.findings import Difference, VerifiedRun
from switchyard.services.backfill import backfill_runs
from switchyard.services.verify import verify_rows
from tests.clients.results.places import run_sql

Found = tuple[str, str, int | None]
"""Where a difference must be found: place, MLflow's key (else the path), epoch."""
NORMAL = ("run-0000-adagrad", "run-0001-adam")
"""The names of two runs without anything awkward."""
_TABLES = (
    "quick_tests",
    "switchyard_published",
    "switchyard_histograms",
    "switchyard_series",
    "switchyard_values",
    "switchyard_ledger",
)


@dataclass
class World:
    """An MLflow store, and what was published and kept of it."""

    folder: Path
    store: Path
    results_url: str
    ids: dict[str, int] = field(default_factory=dict)  # quick test ids by the run's case, or its name
    run_ids: dict[str, str] = field(default_factory=dict)

    @property
    def outside(self) -> Outside:
        return Outside(
            read_settings(
                {
                    "STATE_DIR": str(self.folder),
                    "RESULTS_URL": self.results_url,
                    "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.store}",
                }
            )
        )

    def publish(self, **how: Any) -> None:
        """Makes a row for each run, and publishes it."""
        outside, now = self.outside, datetime.now(UTC)
        migrate(outside.settings)
        with closing(outside.tracking) as tracking:
            infos = sorted(tracking.list_runs(), key=lambda run: run.run_id)
        adopted = [AdoptedRun(mlflow_run_id=run.run_id, status=RunStatus.COMPLETED) for run in infos]
        found = outside.runs.adopt_runs(adopted, now=now)
        cases = dict(self.mlflow("SELECT run_uuid, value FROM tags WHERE key = 'fixture.case'"))
        names = {run.run_id: cases.get(run.run_id, run.name) for run in infos}
        self.ids = {names[run_id]: id_ for run_id, id_ in found.items()}
        self.run_ids = {name: run_id for run_id, name in names.items()}
        items = [Item(quick_test_id=id_, mlflow_run_id=run_id) for run_id, id_ in found.items()]
        result = backfill_runs(outside, items, How(since=now, **how))
        assert result.failed == {}

    def copy(self, folder: Path, results_url: str = "") -> "World":
        """The same, to be damaged."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        copied = World(folder, folder / self.store.name, results_url or f"sqlite:///{folder / 'results.db'}")
        copied.ids, copied.run_ids = self.ids, self.run_ids
        copied.sql("DELETE FROM switchyard_ledger WHERE kind LIKE 'verify%'")  # of tests that verified the original
        copied.sql(
            "UPDATE quick_tests SET gcs_artifacts_path = replace(gcs_artifacts_path, :old, :new)",
            old=self.folder.as_uri(),
            new=folder.as_uri(),
        )
        return copied

    def mlflow(self, statement: str, *values: object) -> list[Any]:
        """Runs one statement in the MLflow store."""
        with closing(sqlite3.connect(self.store, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")  # as a newer MLflow may have none
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Puts all that is published, and the ledger, back to what it was."""
        for table in _TABLES:
            self.sql(f"CREATE TABLE was_{table} AS SELECT * FROM {table}")
        yield
        for table in reversed(_TABLES):
            self.sql(f"DELETE FROM {table}")
        for table in _TABLES:
            self.sql(f"INSERT INTO {table} SELECT * FROM was_{table}")
            self.sql(f"DROP TABLE was_{table}")

    def sql(self, statement: str, **values: object) -> list[Any]:
        """Runs one statement in the results database, past the code under test."""
        return run_sql(self.results_url, statement, **values)

    def verify(self, *cases: str, whole: bool = True, export_uri: str = "") -> dict[str, VerifiedRun]:
        """What is found of these runs, or of all."""
        ids = {self.ids[case]: case for case in cases or self.ids}
        rows = [row for row in self.outside.ledger.list_backfill() if row.id in ids]
        found = verify_rows(self.outside, rows, whole=whole, export_uri=export_uri)
        return {ids[run.quick_test_id]: run for run in found}

    def close(self) -> None:
        self.outside.close()

    # What is kept, as damage finds it:

    def read_history(self, case: str) -> dict[str, Any]:
        (row,) = self.sql("SELECT training_history_json FROM quick_tests WHERE id = :id", id=self.ids[case])
        found: dict[str, Any] = msgspec.json.decode(row[0])
        return found

    def write_history(self, case: str, history: Mapping[str, Any] | str) -> None:
        text = history if isinstance(history, str) else msgspec.json.encode(history).decode()
        self.sql("UPDATE quick_tests SET training_history_json = :text WHERE id = :id", text=text, id=self.ids[case])

    @contextmanager
    def history(self, case: str) -> Iterator[dict[str, Any]]:
        """The published history, to be changed in place."""
        history = self.read_history(case)
        yield history
        self.write_history(case, history)

    def read_file(self, case: str) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.file_path(case).read_bytes())
        return found

    @contextmanager
    def file(self, case: str) -> Iterator[dict[str, Any]]:
        """The kept training_metrics.json, to be changed in place."""
        file = self.read_file(case)
        yield file
        self.write_file(case, msgspec.json.encode(file))

    def write_file(self, case: str, data: bytes) -> None:
        uri = self.file_path(case).as_uri()
        self.outside.objects(uri).write(uri, data, if_generation=ANY)

    def file_path(self, case: str) -> Path:
        return self.folder / "artifacts" / "quick_tests" / str(self.ids[case]) / "training_metrics.json"

    @property
    def normal(self) -> str:
        return NORMAL[0]


def places(run: VerifiedRun) -> set[Found]:
    return {(found.place, found.key or found.path, found.epoch) for found in run.differences}


def find(run: VerifiedRun, place: str, key: str) -> Difference:
    return next(found for found in run.differences if (found.place, found.key or found.path) == (place, key))
