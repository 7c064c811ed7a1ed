"""Where the results tests run: each kind of database and of runs' table, with what a test needs to know of it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, text

from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.history.publication import Digests, FullSeries, HistogramRow, Publication, Rank, Value
from switchyard.core.ports import Catalogue, Histories, Jobs, Ledger, Models, Predictions, Runs
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, Job, JobNews, NewRun, RunStatus
from tests.postgres import Postgres

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
LAST = Rank(attempt=1, epochs=11, status=2)
"""The rank of a first attempt that was completed."""

_OTHER_COLUMNS = "owner_name varchar(40) NOT NULL, is_archived boolean NOT NULL, opened timestamp NOT NULL"
_OTHER_VALUES = "'somebody', false, '2025-01-01 00:00:00'"
KINDS = {
    "sqlite": ("", "text"),
    "sqlite with a table": ("quicktest", "text"),
    "postgres": ("", "text"),
    "postgres with a json table": ("app.quicktest", "json"),
    "postgres with a jsonb table": ("app.quicktest", "jsonb"),
}
"""The kinds of place: RESULTS_TABLE, and the type of its training_history_json."""


@dataclass
class Place:
    """One database, migrated; `table` is an application's own, or empty for ours."""

    url: str
    table: str = ""
    history_type: str = "text"
    ports: ResultsPorts = field(init=False)

    def __post_init__(self) -> None:
        self.ports = self.open()

    @property
    def runs(self) -> Runs:
        return self.ports.runs

    @property
    def jobs(self) -> Jobs:
        return self.ports.jobs

    @property
    def histories(self) -> Histories:
        return self.ports.histories

    @property
    def ledger(self) -> Ledger:
        return self.ports.ledger

    @property
    def models(self) -> Models:
        return self.ports.models

    @property
    def predictions(self) -> Predictions:
        return self.ports.predictions

    @property
    def catalogue(self) -> Catalogue:
        return self.ports.catalogue

    @property
    def runs_table(self) -> str:
        return self.table or "quick_tests"

    @property
    def settings(self) -> Settings:
        return to_settings(self.url, self.table)

    def open(self) -> ResultsPorts:
        """Another opening of the same database, as another process has it."""
        return open_results(self.url, self.table)

    def sql(self, statement: str, **values: object) -> list[Any]:
        """Runs one statement of the test's own, past the code under test."""
        return run_sql(self.url, statement, **values)

    def add_run(self, request_key: str = "request", status: str = "pending", history: str | None = None) -> int:
        """A run's id; its row is made by the port, or as the application that owns the table makes it."""
        if not self.table:
            run = self.runs.create_run(NewRun(request_key=request_key), now=NOW)
            self.sql(
                "UPDATE quick_tests SET status = :status, training_history_json = :history WHERE id = :id",
                status=status,
                history=history,
                id=run.id,
            )
            return run.id
        (row,) = self.sql(
            f"INSERT INTO {self.table} (owner_name, is_archived, opened, status, training_history_json) "
            f"VALUES ({_OTHER_VALUES}, :status, {self._as_history(':history')}) RETURNING id",
            status=status,
            history=history,
        )
        return int(row.id)

    def set_history(self, quick_test_id: int, history: str | None) -> None:
        """Stores a history as another application does."""
        self.sql(
            f"UPDATE {self.runs_table} SET training_history_json = {self._as_history(':history')} WHERE id = :id",
            history=history,
            id=quick_test_id,
        )

    def claim(self, quick_test_id: int, request_key: str = "claim", now: datetime = NOW) -> Job:
        return self.jobs.claim_job(
            Claim(
                quick_test_id=quick_test_id,
                request_key=request_key,
                artifacts_uri=f"file:///artifacts/quick_tests/{quick_test_id}",
                parameters={"epochs": 11},
            ),
            now=now,
        ).job

    def add_finished_run(self, number: int) -> int:
        """A run that was trained and published, as the walk does it."""
        run = self.add_run(f"request {number}")
        job = self.claim(run, f"claim {number}")
        self.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
        self.histories.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
        self.jobs.note_completed_event(job.key, now=NOW)
        self.jobs.claim_ended_event(job.key, now=NOW)
        return run

    def _as_history(self, value: str) -> str:
        return f"CAST({value} AS {self.history_type})"


def publication(
    quick_test_id: int,
    charted: str = "a",
    *,
    full: str | None = None,
    status: str = "completed",
    rank: Rank = LAST,
    interval: int = 5,
    row_status: RunStatus | None = None,
    of_attempt: int | None = None,
    error: str = "",
    kinds: tuple[str, ...] = ("weights", "gradients"),
    **more: object,
) -> Publication:
    """What a run of 11 epochs publishes; `charted` and `full` stand for the digests of its content."""
    history = {
        "available": True,
        "epochs": [0, 5, 10],
        "loss": {"train": [0.9, 0.5, 0.25], "val": [0.95, None, 0.35]},
        "gradient": {"total": [1.5, 1e-07, 12345.678]},
        "final_metrics": {"final_loss": 0.25},
        "params": {"epochs": 11, "learning_rate": 0.01},
        "mlflow_run_id": "",
        "histogram_available": bool(kinds),
        "schema_version": 1,
        "status": status,
        "source": "file",
        "sampling": {"interval": interval, "keep_extremes": False, "kept": 3, "total": 11},
        "non_finite": {},
        **more,
    }
    return Publication(
        quick_test_id=quick_test_id,
        history=history,
        digests=Digests(charted=f"sha256:{charted}", full=f"sha256:{full or charted}", series={"loss.loss": charted}),
        rank=rank,
        histograms=[
            HistogramRow(kind=kind, tower=tower, gzip_json=f"{charted} {kind} {tower}".encode())
            for kind in kinds
            for tower in ("query", "candidate")
        ],
        series=FullSeries(gzip_json=f"{charted} series".encode(), digest=f"sha256:{charted} series"),
        values=[
            Value(kind="last", name="loss", number=0.1 + 0.2),
            Value(kind="param", name="learning_rate", number=0.01, text="0.01"),
            Value(kind="tag", name="note", text=charted),
        ],
        row_status=row_status,
        of_attempt=of_attempt,
        error=error,
    )


_TABLES = (
    ("published", "quick_test_id"),
    ("histograms", "kind, tower"),
    ("series", "quick_test_id"),
    ("values", "kind, name, number, text"),
    ("replaced", "id"),
)


def look(place: Place, run: int) -> dict[str, Any]:
    """All that is stored of a run, but for its id and what has it."""
    (row,) = place.sql(f"SELECT * FROM {place.runs_table} WHERE id = :id", id=run)
    found = {"row": {n: v for n, v in row._asdict().items() if n not in ("id", "request_key", "created_at")}}
    for table, order in _TABLES:
        rows = place.sql(f"SELECT * FROM switchyard_{table} WHERE quick_test_id = :id ORDER BY {order}", id=run)
        found[table] = [{n: v for n, v in r._asdict().items() if n not in ("id", "quick_test_id")} for r in rows]  # type: ignore[assignment]
    return found


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def to_settings(url: str, table: str = "") -> Settings:
    return read_settings({"RESULTS_URL": url, "RESULTS_TABLE": table})


def make_application_table(url: str, table: str, history_type: str) -> None:
    """A table of runs as an application of its own has it, with columns that we know nothing of."""
    own_id = "integer PRIMARY KEY" if url.startswith("sqlite") else "bigserial PRIMARY KEY"
    if "." in table:
        run_sql(url, f"CREATE SCHEMA {table.partition('.')[0]}")
    run_sql(
        url,
        f"CREATE TABLE {table} (id {own_id}, {_OTHER_COLUMNS}, status varchar(20) NOT NULL, "
        f"gcs_artifacts_path varchar(500), mlflow_run_id varchar(64), training_history_json {history_type})",
    )


def prepare(url: str, table: str, history_type: str) -> None:
    """Migrates an empty database; the application's table is there before."""
    if table:
        make_application_table(url, table, history_type)
    migrate(to_settings(url, table))


class Places:
    """Makes places; each kind's schema is made once, and used by all tests that leave it as it is."""

    def __init__(self, folder: Path, server: Callable[[], Postgres]) -> None:
        self._folder = folder
        self._server = server  # asked only where it is needed: SQLite's tests start none
        self._databases: dict[str, str] = {}
        self._made: list[Place] = []

    def make(self, kind: str, folder: Path, *, fresh: bool = False) -> Place:
        """An empty place; `fresh` where the test changes its schema."""
        table, history_type = KINDS[kind]
        if kind.startswith("sqlite"):
            url = self._copy_file(kind, folder / "results.db")
        else:
            url = self._make_database(kind) if fresh else self._empty_database(kind)
        self._made.append(Place(url, table, history_type))
        return self._made[-1]

    def close(self) -> None:
        """Ends the connections of all places made since the last call."""
        while self._made:
            self._made.pop().ports.close()

    def _copy_file(self, kind: str, target: Path) -> str:
        source = self._folder / f"{kind}.db"
        if not source.exists():
            prepare(f"sqlite:///{source}", *KINDS[kind])
        shutil.copy(source, target)
        return f"sqlite:///{target}"

    def _make_database(self, kind: str) -> str:
        server = self._server()
        url = server.url(server.make_database())
        prepare(url, *KINDS[kind])
        return url

    def _empty_database(self, kind: str) -> str:
        """The kind's one database, without rows; a copy for each test would be 7 MB on the disk each."""
        if kind not in self._databases:
            self._databases[kind] = self._make_database(kind)
        runs = KINDS[kind][0] or "quick_tests"
        names = ["jobs", "published", "histograms", "series", "values", "ledger", "replaced", "models"]
        names += ["model_versions", "model_files", "model_transitions", "model_aliases", "predictions", "feedback"]
        names += ["model_tags", "model_imports", "model_pairs", "model_mirrors", "followed", "followed_stores"]
        names += ["decommission", "decommission_steps"]
        ours = ", ".join(f"switchyard_{name}" for name in names)
        run_sql(self._databases[kind], f"TRUNCATE {runs}, {ours} RESTART IDENTITY")
        return self._databases[kind]


def run_sql(url: str, statement: str, **values: object) -> list[Any]:
    """Runs one statement in a transaction and on a connection of its own."""
    with _make_engine(url).begin() as connection:
        result = connection.execute(text(statement), values)
        return list(result) if result.returns_rows else []


@lru_cache(maxsize=16)
def _make_engine(url: str) -> Engine:
    """It keeps no connection, but what it has learnt of the server: a new one asks five questions first."""
    return create_engine(url, poolclass=NullPool)
