"""The drivers' errors of an MLflow store as ours; none of theirs leaves clients, and no message has a password."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from switchyard.core.errors import BadRecord, BadSetup, SwitchyardError, TryAgain

_SETTING: Final = "MLFLOW_BACKEND_STORE_URI"
# Source of the codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRY_AGAIN: Final = ("08", "40", "53", "55", "57", "58")
_NOT_ALLOWED: Final = ("25", "28", "3D", "3F", "42")
_REFUSED_AT_CONNECT: Final = ("authentication failed", "no password supplied", "does not exist", "pg_hba.conf")
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR)


@contextmanager
def translated_postgres(where: str, setting: str = _SETTING) -> Iterator[None]:
    """Raises ours for psycopg's; `where` names the store, without its password, and `setting` says where to change it.

    Raises:
        TryAgain: the server is away, busy, or ended the connection. BadSetup: it refuses us, or is no MLflow store.
        BadRecord: what is stored cannot be read.
    """
    try:
        yield
    except (psycopg.DataError, UnicodeError) as err:
        raise BadRecord(where, [f"what is stored there cannot be read: {_first_line(err)}"]) from err
    except psycopg.Error as err:
        raise _from_postgres(err, where, setting) from err


@contextmanager
def translated_sqlite(where: str, setting: str = _SETTING) -> Iterator[None]:
    """As `translated_postgres`, for SQLite."""
    try:
        yield
    except UnicodeError as err:
        raise BadRecord(where, [f"what is stored there cannot be read: {_first_line(err)}"]) from err
    except sqlite3.Error as err:
        raise _from_sqlite(err, where, setting) from err


def _from_postgres(err: psycopg.Error, where: str, setting: str) -> SwitchyardError:
    said = _first_line(err)
    code = err.sqlstate or ""
    if not code and isinstance(err, psycopg.OperationalError | psycopg.InterfaceError):
        # While connecting, libpq gives no code but the server's words.
        if any(words in str(err) for words in _REFUSED_AT_CONNECT):
            return BadSetup(f"{where}: {said}; see {setting}")
        return TryAgain(f"{where}: no connection ({said}); try again")
    if code[:2] in _TRY_AGAIN:
        return TryAgain(f"{where}: {said}; try again")
    if code[:2] in _NOT_ALLOWED:
        return BadSetup(f"{where}: {said}; {setting} must name {_to_wanted(setting)}")
    return SwitchyardError(f"{where}: {type(err).__name__}: {said}")


def _from_sqlite(err: sqlite3.Error, where: str, setting: str) -> SwitchyardError:
    said = _first_line(err)
    code = getattr(err, "sqlite_errorcode", 0) & 0xFF  # the extended codes keep the primary one in the low byte
    if code in _BUSY:
        return TryAgain(f"{where}: {said}; another process holds it, or its disk fails; try again")
    if "Could not decode to UTF-8" in said:
        return BadRecord(where, [f"what is stored there cannot be read: {said}"])
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) or said.startswith("no such"):
        return BadSetup(f"{where}: {said}; {setting} must name {_to_wanted(setting)}")
    return SwitchyardError(f"{where}: {type(err).__name__}: {said}")


def _to_wanted(setting: str) -> str:
    if setting == _SETTING:
        return "an MLflow backend store, and a role that may SELECT from its tables (for an export: its sequences too)"
    return "an empty database, and a role that may create tables in it"


def _first_line(err: BaseException) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)[:300]
