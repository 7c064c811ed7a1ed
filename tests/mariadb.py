"""A real MariaDB for tests, from the machine's packages (Debian: mariadb-server).

It is one server a session, one database a test, and nothing of it is left. Skipped where it is not installed.

Any room's tests get one by naming the fixture in their conftest: ``from tests.mariadb import mariadb``.
"""

import getpass
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.emulators.server import listen

USER, SECRET = "mlflow", "s3cret"
START_S = 60
_QUICK = ("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M")
"""A test's data need not outlive the machine."""


class MariaDB:
    """A server on a free loopback port, in a folder of its own, run by an ordinary user."""

    def __init__(self, folder: Path, *options: str) -> None:
        daemon, install = find_programs()
        user = "mysql" if getpass.getuser() == "root" else getpass.getuser()  # it refuses to run as root
        if user == "mysql":
            shutil.chown(folder, user)
        self._socket = folder / "s"
        data = [f"--user={user}", f"--datadir={folder / 'data'}", *_QUICK]
        normal = "--auth-root-authentication-method=normal"
        # Not the tests' own TMPDIR, where no other user may go.
        self._environ = os.environ | {"TMPDIR": str(folder)}
        made = subprocess.run(
            [install, "--no-defaults", *data, normal, "--skip-test-db"],
            env=self._environ,
            capture_output=True,
            text=True,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        listening, url = listen(0)
        listening.close()
        self.port = int(url.rpartition(":")[2])
        command = [daemon, "--no-defaults", *data, f"--socket={self._socket}", "--bind-address=127.0.0.1"]
        command += [f"--port={self.port}", f"--pid-file={folder / 'pid'}", "--skip-name-resolve", *options]
        self._log = folder / "log"
        self._command = command
        self._numbers = itertools.count(1)
        self.start()
        self.execute(f"CREATE USER {USER} IDENTIFIED BY '{SECRET}'")
        self.execute(f"GRANT ALL ON *.* TO {USER}")

    def start(self) -> None:
        """With all data that it had."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                if self._socket.exists():  # PyMySQL leaves a socket open that it could not connect
                    return self.execute("SELECT 1")
            except pymysql.OperationalError:
                pass
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    def url(self, database: str, *, user: str = USER, password: str = SECRET) -> str:
        """As MLflow's ``--backend-store-uri`` wants it."""
        return f"mysql+pymysql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str | None = None) -> Any:
        """A connection of root's."""
        return pymysql.connect(unix_socket=str(self._socket), user="root", database=database, charset="utf8mb4")

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Runs them, one transaction."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def read(self, query: str, *, database: str | None = None) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def make_database(self, options: str = "CHARACTER SET utf8mb4") -> str:
        """A new, empty database's name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return name

    def stop(self) -> None:
        """Ends it, as a shutdown of the machine does."""
        self._process.terminate()
        self._process.wait(timeout=60)
        self._socket.unlink(missing_ok=True)


def find_programs() -> tuple[str, str]:
    """The server, and what makes its folder; the test is skipped where they are not."""
    path = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
    found = [shutil.which(name) or shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db")]
    if not all(found):
        pytest.skip("no MariaDB is installed: apt-get install mariadb-server")
    return str(found[0]), str(found[1])


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """The session's server.

    Its folder is where another user may go, and short, for a socket's path may have 107 characters at most.
    """
    find_programs()
    with tempfile.TemporaryDirectory(prefix="maria-", dir="/tmp") as folder:
        server = MariaDB(Path(folder))
        try:
            yield server
        finally:
            server.stop()
