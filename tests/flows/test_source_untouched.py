"""Publishing, verifying and exporting MLflow's runs changes not one row of MLflow's, by whatever way they are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from flows.backfill import backfill
from flows.export import export
from flows.verify import verify
from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.export.parts import to_digest
from switchyard.clients.mlflow.export.tables import open_tables
from tests.clients.mlflow.real_servers import serve
from tests.clients.mlflow.stores import find_fixture, make_sqlite, restore, to_libpq
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread
from tests.postgres import Postgres

pytestmark = pytest.mark.usefixtures("prefect_server")

READER = "switchyard_reader"
"""docs/mlflow-reference.md gives it these rights, and no others."""
RUNS = 24


def digest_tables(uri: str) -> dict[str, str]:
    """Of every row of every table there is."""
    with open_tables(uri).snapshot() as snapshot:
        return {table.name: to_digest(snapshot.rows(table)) for table in snapshot.tables()}


def make_store(postgres: Postgres) -> str:
    database = postgres.make_database()
    restore(postgres, database, find_fixture())
    return to_libpq(postgres.url(database))


def to_reader(uri: str) -> str:
    """The same store for a role that may SELECT, and nothing else."""
    with psycopg.connect(uri, autocommit=True) as connection:
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (READER,)).fetchone():
            connection.execute(f"CREATE ROLE {READER} LOGIN".encode())
        connection.execute(f"GRANT USAGE ON SCHEMA public TO {READER}".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}".encode())
        connection.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {READER}".encode())
    reader = uri.replace("postgres:@", f"{READER}:@")
    with psycopg.connect(reader) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM metrics")
    return reader


@contextmanager
def untouched(uri: str) -> Iterator[None]:
    """Every table is after the block as it was before it."""
    before = digest_tables(uri)
    assert {"metrics", "latest_metrics", "params", "runs", "tags", "alembic_version"} <= before.keys()
    yield
    assert digest_tables(uri) == before


def publish_and_verify(*, whole: bool = True) -> None:
    """Each run of the fixture, into rows made for it, then again by force; `whole`: with all that there is of it."""
    done = backfill(adopt=True, status="all", histograms=whole, full=whole)
    assert done.published + len(done.skipped) + len(done.left_out) == RUNS
    assert done.published >= RUNS - 3
    assert backfill(status="all", histograms=whole, full=whole, force=True).unchanged == done.published
    assert verify(whole=whole).verified >= done.published


@pytest.mark.parametrize("role", ["owner", "reader"])
def test_sql_leaves_every_table_as_it_was(
    outside: Outside, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """For a role that could write, and for one that may only SELECT, which is enough for all three flows."""
    uri = make_store(postgres)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", uri if role == "owner" else to_reader(uri))
    with untouched(uri):
        publish_and_verify()
        export()


def test_rest_leaves_every_table_as_it_was(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a server of 2.9.2's behaviour; `make test-mlflow` does it over a real one."""
    path = make_sqlite(tmp_path / "mlflow.db", find_fixture())
    emulator = MlflowEmulator(path)
    with untouched(f"sqlite:///{path}"), serve_in_thread(emulator.app) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        publish_and_verify(whole=False)
    emulator.close()


@pytest.mark.slow
@pytest.mark.needs_mlflow
def test_a_real_server_leaves_every_table_as_it_was(
    outside: Outside, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow 2.9.2 itself, on Postgres."""
    uri = make_store(postgres)
    store_uri = uri.replace("postgresql://", "postgresql+psycopg2://")
    with untouched(uri), serve("2.9.2", store_uri, tmp_path / "server") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        publish_and_verify()
