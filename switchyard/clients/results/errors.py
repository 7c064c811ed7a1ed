"""Translates SQLAlchemy's and the drivers' errors. None of theirs leaves clients, and no message has a password."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from switchyard.core.errors import BadRecord, BadRequest, BadSetup, SwitchyardError, TryAgain

MIGRATE = "run: switchyard migrate"

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR)
# Source of the codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRY_AGAIN = (
    "08",
    "40",
    "53",
    "55",
    "57",
    "58",
)  # connection, rollback, resources, object in use, intervention, system
_DISK_FULL = ("53100", "58030")
_NO_SUCH_TABLE = ("42P01", "42703", "3F000")
_NOT_ALLOWED = ("25", "28", "3D", "42")  # read-only, who we are, no such database, syntax or access rule
_REFUSED_AT_CONNECT = ("authentication failed", "no password supplied", "does not exist", "pg_hba.conf")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raises our errors for theirs; `where` names the database, without its password.

    Raises:
        TryAgain: locked, away, out of connections, out of disk, or the loser of a deadlock.
        BadSetup: the schema, the permissions or the table's own constraints refuse us.
        BadRecord: the database cannot hold a value.
        BadRequest: SQLite was stopped, because the caller has no time left (`engine`).
    """
    try:
        yield
    except exc.TimeoutError as err:
        raise TryAgain(f"{where}: all connections are in use; try again") from err
    except exc.DBAPIError as err:
        raise to_ours(err, where) from err
    except exc.StatementError as err:
        raise BadRecord(where, [f"a value cannot be stored: {_first_line(err.orig or err)}"]) from err
    except exc.SQLAlchemyError as err:
        raise SwitchyardError(f"{where}: {_first_line(err)}") from err


def to_ours(err: exc.DBAPIError, where: str) -> SwitchyardError:
    """Returns the error to raise in place of a driver's."""
    cause = err.orig
    if isinstance(cause, sqlite3.Error):
        return _from_sqlite(err, cause, where)
    return _from_postgres(err, where)


def _from_sqlite(err: exc.DBAPIError, cause: sqlite3.Error, where: str) -> SwitchyardError:
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the extended codes keep the primary one in the low byte
    said = _first_line(cause)
    if code == sqlite3.SQLITE_FULL:
        return TryAgain(f"{where}: the disk is full ({said}); free space at that path, then try again")
    if code == sqlite3.SQLITE_INTERRUPT:
        return BadRequest(
            "the answer takes longer than a request may; ask for less: a filter with a term that few runs meet, and "
            "without `not` before it (docs/api.md)"
        )
    if code in _BUSY:
        return TryAgain(f"{where}: {said}; another process holds it, or its disk fails; try again")
    if code == sqlite3.SQLITE_CANTOPEN:
        return BadSetup(
            f"{where}: {said}; its folder cannot be written, or the file is missing: put it back, or, for a new "
            f"one, {MIGRATE}"
        )
    if code == sqlite3.SQLITE_READONLY:
        return BadSetup(f"{where}: {said}; this user must be able to write the file and its folder")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return BadSetup(f"{where}: {said}; restore it from a copy, or name another file in RESULTS_URL")
    if said.startswith(("no such table", "no such column")):
        return BadSetup(f"{where}: {said}; {MIGRATE}")
    if said.startswith("unknown database"):
        return BadSetup(f"{where}: {said}; RESULTS_TABLE must be a table's name without a schema on SQLite")
    return _unexpected(err, where)


def _from_postgres(err: exc.DBAPIError, where: str) -> SwitchyardError:
    code: str = getattr(err.orig, "sqlstate", None) or ""
    said = _first_line(err.orig)
    if code in _DISK_FULL:
        return TryAgain(f"{where}: the disk is full ({said}); free space at the database server, then try again")
    if code in _NO_SUCH_TABLE:
        return BadSetup(f"{where}: {said}; {MIGRATE}")
    if code[:2] in _TRY_AGAIN:
        return TryAgain(f"{where}: {said}; try again")
    if not code and isinstance(err, exc.OperationalError | exc.InterfaceError):
        # While connecting, libpq gives the server's words but no code.
        if any(words in str(err.orig) for words in _REFUSED_AT_CONNECT):
            return BadSetup(f"{where}: {said}; see RESULTS_URL")
        return TryAgain(f"{where}: no connection ({said}); try again")
    if code[:2] in _NOT_ALLOWED:
        return BadSetup(f"{where}: {said}; this user's rights and the table must fit RESULTS_URL and RESULTS_TABLE")
    return _unexpected(err, where)


def _unexpected(err: exc.DBAPIError, where: str) -> SwitchyardError:
    said = _first_line(err.orig)
    if isinstance(err, exc.IntegrityError):
        return BadSetup(f"{where}: the table's own constraints refuse what must be written: {said}")
    if isinstance(err, exc.DataError):
        return BadRecord(where, [f"a value cannot be stored: {said}"])
    return SwitchyardError(f"{where}: {type(err.orig).__name__}: {said}")


def _first_line(err: BaseException | None) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)
