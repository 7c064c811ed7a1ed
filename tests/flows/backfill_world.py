"""An MLflow store to publish, results databases with a row for each of its runs, and all that a backfill leaves."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy

from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from tests.clients.mlflow.stores import FIXTURES, find_fixture, restore, to_libpq
from tests.postgres import Postgres

MAKER = FIXTURES / "make_mlflow_runs.py"
_OF_THE_TIME = {
    "cached_at",
    "published_at",
    "etag",
    "history_etag",
    "attempts",
    "updated_at",
    "next_try_at",
    "created_at",
    "seen_at",
    "tried_at",
    "followed_until",
    "deleted_at",
    "replaced_at",
}
"""What differs from one backfill to another by design: when it was, and how often it was tried. An ETag is of bytes
that have a time in them."""


def make_source(postgres: Postgres, *, runs: int, epochs: int = 12) -> str:
    """The legacy database with its 24 awkward runs, and `runs` more."""
    database = postgres.make_database()
    restore(postgres, database, find_fixture())
    uri = to_libpq(postgres.url(database))
    if runs:
        counts = ("--runs", str(runs), "--epochs", str(epochs), "--awkward", "none", "--seed", "11")
        subprocess.run([sys.executable, str(MAKER), "--db-url", uri, *counts], check=True, capture_output=True)
    return uri


def list_run_ids(source: str) -> list[str]:
    store = open_store(source)
    try:
        return [run.run_id for run in store.list_runs()]
    finally:
        store.close()


@dataclass(frozen=True)
class Results:
    """One results database, and the folder of its artifacts."""

    url: str
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"STATE_DIR": str(self.folder), "RESULTS_URL": self.url}

    def query(self, statement: str) -> Sequence[Mapping[str, Any]]:
        engine = sqlalchemy.create_engine(self.url)
        with engine.connect() as connection:
            found = connection.execute(sqlalchemy.text(statement)).mappings().all()
        engine.dispose()
        return [dict(row) for row in found]

    def read_all(self) -> dict[str, Any]:
        """Every row of every table and every file, by the run that it is of; times, attempts and row ids aside."""
        runs = {row["id"]: row["mlflow_run_id"] for row in self.query("SELECT id, mlflow_run_id FROM quick_tests")}
        assert len(runs) == len(set(runs.values()))
        found: dict[str, Any] = {}
        engine = sqlalchemy.create_engine(self.url)
        tables = sorted(name for name in sqlalchemy.inspect(engine).get_table_names() if "alembic" not in name)
        engine.dispose()
        for table in tables:
            for row in self.query(f"SELECT * FROM {table}"):
                run = runs.get(row.get("quick_test_id", row.get("id")), "no run")
                known = {name: self._plain(value) for name, value in row.items() if name not in _OF_THE_TIME}
                known = {name: value for name, value in known.items() if name not in ("id", "quick_test_id")}
                found[f"{table} {run} {row.get('kind', '')} {row.get('tower', row.get('name', ''))}"] = known
        for path in (self.folder / "artifacts").rglob("*"):
            if path.is_file():
                name = str(path.relative_to(self.folder))
                (number,) = re.findall(r"quick_tests/(\d+)/", name)
                data = msgspec.json.decode(path.read_bytes())
                data["run"].pop("quick_test_id")
                found[name.replace(f"/{number}/", f"/{runs[int(number)]}/")] = data
        return found

    def _plain(self, value: Any) -> Any:
        """Without the folder and ids in paths, and of a history what a clock did not write."""
        if isinstance(value, str) and value.startswith("{"):
            value = msgspec.json.decode(value)
            for name in _OF_THE_TIME & value.keys():
                del value[name]
        if isinstance(value, str):
            value = re.sub(r"quick_tests/\d+", "quick_tests/<id>", value.replace(str(self.folder), "<folder>"))
            value = re.sub(r"quick test \d+", "quick test <id>", value)
        return value


class Maker:
    """Makes results databases, all alike: the first of its kind is migrated and filled, the others are its copies."""

    def __init__(self, folder: Path, postgres: Postgres, run_ids: Sequence[str]) -> None:
        self._folder = folder
        self._postgres = postgres
        self._run_ids = run_ids
        self._count = 0
        self._template = folder / "template.db"
        self._database = ""

    def make(self, kind: str = "sqlite") -> Results:
        """A new one, with nothing published."""
        folder = self._make_folder()
        if kind == "sqlite":
            if not self._template.exists():
                fill(f"sqlite:///{self._template}", self._run_ids)
            shutil.copy(self._template, folder / "results.db")
            return Results(f"sqlite:///{folder / 'results.db'}", folder)
        if not self._database:
            self._database = self._postgres.make_database()
            fill(self._postgres.url(self._database), self._run_ids)
        name = f"{self._database}_{self._count}"
        self._postgres.execute(f"CREATE DATABASE {name} TEMPLATE {self._database}")
        return Results(self._postgres.url(name), folder)

    def copy(self, results: Results) -> Results:
        """Another one, with what those have in their database; no one may be connected to it."""
        folder = self._make_folder()
        url = sqlalchemy.make_url(results.url)
        if url.get_backend_name() == "sqlite":
            shutil.copy(str(url.database), folder / "results.db")
            return Results(f"sqlite:///{folder / 'results.db'}", folder)
        name = f"{url.database}_of_{self._count}"
        self._postgres.execute(f"CREATE DATABASE {name} TEMPLATE {url.database}")
        return Results(self._postgres.url(name), folder)

    def _make_folder(self) -> Path:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return folder


def fill(url: str, run_ids: Sequence[str]) -> None:
    """Migrates, and adds a completed row for each MLflow run, as the legacy application left them."""
    migrate(read_settings({"RESULTS_URL": url}))
    engine = sqlalchemy.create_engine(url)
    rows = [{"run": run_id, "now": datetime(2024, 1, 1, tzinfo=UTC)} for run_id in run_ids]
    insert = (
        "INSERT INTO quick_tests (status, gcs_artifacts_path, mlflow_run_id, display_name, mlflow_experiment_name, "
        "parameters, request_key, error, created_at) VALUES ('completed', '', :run, '', '', '{}', :run, '', :now)"
    )
    if rows:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(insert), rows)
    engine.dispose()
