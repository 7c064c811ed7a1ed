"""Says where sweeps are stored, and locks a sweep, so that one process at a time does it.

They are in an SQLite file, or in a schema of its own in a Postgres: Optuna keeps its version in a table
`alembic_version`, as others do (MLflow, say). A lock ends with its process, however that ends.
"""

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import URL, make_url

from switchyard.core.errors import BadSetup, TryAgain, TryLater

SCHEMA: Final = "switchyard_sweeps"
_CONNECT_S: Final = 10


class Place:
    """One storage of sweeps. `where` names it in messages, without a password."""

    def __init__(self, url: str) -> None:
        self.url: URL = make_url(url)
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        self.path = Path(self.url.database or "")
        self.where = f"the sweeps' storage {self.url.render_as_string(hide_password=True)}"
        if self.is_postgres:
            self.where += f" (schema {SCHEMA})"

    def prepare(self) -> None:
        """Makes the folder, or the schema. A second call changes nothing. Raises: BadSetup, TryAgain."""
        if not self.is_postgres:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as err:
                raise BadSetup(f"{self.where}: its folder cannot be made: {err}") from err
            return
        with closing(self._connect()) as connection:
            # Not IF NOT EXISTS alone: it asks for the right to create schemas also if this one is there.
            found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,)).fetchone()
            if found is None:
                try:
                    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
                except psycopg.errors.InsufficientPrivilege as err:
                    raise BadSetup(
                        f"{self.where}: its role may not create the schema. Let an owner of the database run: "
                        f"CREATE SCHEMA {SCHEMA} AUTHORIZATION <role>"
                    ) from err

    def engine_arguments(self) -> dict[str, Any]:
        """Returns what SQLAlchemy is told, so that unqualified names are of our schema."""
        # A statement's parameters are values of trials; errors show none.
        shared: dict[str, Any] = {"hide_parameters": True, "pool_pre_ping": True}
        if not self.is_postgres:
            return shared | {"connect_args": {"timeout": 30}}
        given = self.url.query.get("options", "")
        options = f"{given if isinstance(given, str) else ' '.join(given)} -c search_path={SCHEMA}".strip()
        return shared | {"connect_args": {"options": options, "connect_timeout": _CONNECT_S}}

    @contextmanager
    def hold(self, name: str, *, wait: bool = False) -> Iterator[Callable[[], None]]:
        """Holds `name`: within the block no other process has it; with `wait`, it waits for its turn.

        What is yielded raises TryLater when that is no longer sure.

        Raises: TryLater: another process has it; which one, if that is known.
        """
        with (self._hold_in_postgres if self.is_postgres else self._hold_file)(name, wait) as check:
            yield check

    @contextmanager
    def _hold_file(self, name: str, wait: bool) -> Iterator[Callable[[], None]]:
        self.prepare()
        path = self.path.with_name(f"{self.path.name}.{_to_number(name):x}.lock")
        try:
            file = path.open("a+")
        except OSError as err:
            raise BadSetup(f"{self.where}: {path} cannot be opened: {err}") from err
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except OSError as err:
                file.seek(0)
                raise _to_busy(name, file.read().strip()) from err
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield lambda: None

    @contextmanager
    def _hold_in_postgres(self, name: str, wait: bool) -> Iterator[Callable[[], None]]:
        # Of the session: a pooler that shares sessions among clients (PgBouncer's transaction mode) cannot keep it.
        with closing(self._connect()) as connection:
            number = _to_number(name)
            if wait:
                connection.execute("SELECT pg_advisory_lock(%s)", (number,))
            else:
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", (number,)).fetchone()
                if row is None or not row[0]:
                    raise _to_busy(name, "")

            def check() -> None:
                try:
                    connection.execute("SELECT 1")
                except psycopg.Error as err:
                    raise TryLater(
                        f"the connection that held sweep {name!r} is lost, so that another process may do it now: "
                        f"{err}. To go on: run the same command again"
                    ) from err

            yield check

    def _connect(self) -> "psycopg.Connection[Any]":
        url = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            return psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_S)
        except psycopg.OperationalError as err:
            raise TryAgain(f"{self.where} does not answer: {err}") from err


def _to_number(name: str) -> int:
    """Returns a Postgres bigint, above 0."""
    return int.from_bytes(hashlib.sha256(f"switchyard sweep {name}".encode()).digest()[:8]) >> 1


def _to_busy(name: str, holder: str) -> TryLater:
    by = f" ({holder})" if holder else ""
    return TryLater(
        f"sweep {name!r} is at work in another process{by}. Wait for its end, or start another sweep under another "
        "--name"
    )
