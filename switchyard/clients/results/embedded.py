"""Lets the first process that opens an SQLite file of ours bring it up to date: no one has to migrate a laptop.

That holds only for a file that is missing or empty, or has an older schema of ours. Only `switchyard migrate` changes
Postgres, and an application's own database. See docs/decisions/0017-sqlite-migrates-itself.md.
"""

import errno
import fcntl
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from switchyard.clients.results.engine import open_file
from switchyard.clients.results.tables import SCHEMA, VERSION_TABLE
from switchyard.core.errors import BadSetup, TryAgain

_VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_outdated(path: Path) -> bool:
    """Returns true if `path` has no database yet, or one of an older schema of ours.

    An unreadable file is not outdated: opening it says what is wrong."""
    found = read_file_version(path)
    return found == "" or (found not in (None, SCHEMA) and any(_VERSIONS.glob(f"{found}_*.py")))


def refuse_without_file(path: Path, where: str) -> None:
    """Refuses to make a database where one was: what SQLite keeps beside a file is there, and the file is not.

    Raises: BadSetup: the file is gone. What is left beside it stays as it was.
    """
    left = [beside for beside in _list_beside(path) if beside.exists()]
    log = _list_beside(path)[0]
    # A log with something in it has a file with something in it: SQLite deletes one beside an empty file.
    is_emptied = path.exists() and not path.stat().st_size and log.exists() and log.stat().st_size
    if not left or (path.exists() and not is_emptied):
        return
    copies = sorted(path.parent.glob(f"{path.name}.schema-*"))
    copy = f" A copy from before its last upgrade is at {copies[-1]}." if copies else ""
    names = " ".join(shlex.quote(str(one)) for one in left)
    raise BadSetup(
        f"{where} is gone: {'the file is empty' if is_emptied else 'there is no such file'}. It was deleted or moved "
        f"alone: {' and '.join(str(one) for one in left)} may hold its last changes. Put the file back, then run your "
        "command again."
        f"{copy} To begin with an empty database instead: rm {names}"
    )


def _list_beside(path: Path) -> list[Path]:
    """Lists the files that SQLite keeps beside it.

    Source: https://www.sqlite.org/tempfiles.html
    """
    return [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm", "-journal")]


def read_file_version(path: Path) -> str | None:
    """Returns the file's schema; empty: there is no file, or no table in it.

    None: it has tables and none of them is ours, or it cannot be read."""
    if not path.exists():
        return ""
    try:
        return _find_version(open_file(path))
    except (OSError, sqlite3.Error):
        pass
    try:
        # On read-only media SQLite reads a file with a write-ahead log only if it is told that no one can write it.
        return _find_version(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True))
    except (OSError, sqlite3.Error):
        return None


def _find_version(connection: sqlite3.Connection) -> str | None:
    with closing(connection):
        # One statement sees one state, even while another process makes the tables.
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if VERSION_TABLE not in tables:
            return None if tables else ""
        return _read_version(connection)


def _read_version(connection: sqlite3.Connection) -> str:
    (version,) = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608  (a constant)
    return str(version)


@contextmanager
def hold_file(path: Path, where: str) -> Iterator[None]:
    """Holds the right to change the schema of the file at `path`, for one process at a time; others wait for it.

    Raises:
        BadSetup: the folder is missing and cannot be made, or cannot be written.
        TryAgain: the disk is full.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as err:
        if err.errno in _NO_SPACE:
            raise TryAgain(_to_full(where, err)) from err
        raise BadSetup(
            f"{where} needs schema {SCHEMA}, and its folder cannot be written: {err}. Put the "
            "database into a folder that this user can write, and name it in RESULTS_URL"
        ) from err
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def copy_alone(connection: sqlite3.Connection, path: Path, where: str) -> Path:
    """Copies an older database to a file beside it, and returns that. A second call replaces the copy.

    `connection` (`open_file(..., alone=True)`) then has the file for itself: no older process can write to it.

    Raises:
        BadSetup: another process has it open, or it cannot be written.
        TryAgain: the disk is full.
    """
    try:
        version = _read_version(connection)
    except sqlite3.OperationalError as err:
        if err.sqlite_errorcode & 0xFF not in _BUSY:
            raise
        raise BadSetup(
            f"{where} has an older schema than {SCHEMA}, and another process has it open, perhaps of an older "
            "version. Stop it (`switchyard up`, `switchyard serve`, a training), then run your command again"
        ) from err
    copy = path.with_name(f"{path.name}.schema-{version}")
    part = copy.with_name(f"{copy.name}.part")
    try:
        part.unlink(missing_ok=True)
        with closing(_open_copy(part)) as target:
            connection.backup(target)
        part.replace(copy)
    except (OSError, sqlite3.Error) as err:
        part.unlink(missing_ok=True)
        code = getattr(err, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or getattr(err, "errno", 0) in _NO_SPACE:
            raise TryAgain(_to_full(where, err)) from err
        raise BadSetup(
            f"{where} has schema {version}, and cannot be copied to {copy} before it is brought to {SCHEMA}: {err}. "
            "Free space there, or let this user write there, then run your command again"
        ) from err
    return copy


def _open_copy(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path)


def _to_full(where: str, err: Exception) -> str:
    return f"{where} needs schema {SCHEMA}, and the disk is full ({err}). Free space there, then try again"
