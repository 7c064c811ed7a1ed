"""Translates the drivers' errors of an MLflow store into ours. None of theirs leaves clients or shows a password."""

import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from switchyard.core.errors import BadRecord, BadSetup, SwitchyardError, TryAgain

if TYPE_CHECKING:
    import psycopg
    from pymysql import err as mysql

_SETTING: Final = "MLFLOW_BACKEND_STORE_URI"
# Source of the codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRY_AGAIN: Final = ("08", "40", "53", "55", "57", "58")
_NOT_ALLOWED: Final = ("25", "28", "3D", "3F", "42")
_REFUSED_AT_CONNECT: Final = ("authentication failed", "no password supplied", "does not exist", "pg_hba.conf")
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR)

MISSING_DRIVER: Final = (
    "PyMySQL is not installed: pip install -e '.[mysql]' in the checkout (the worker's image has it)"
)
# Source of the numbers: https://mariadb.com/kb/en/mariadb-error-codes/ and
# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html (from 2000 on: of the client, and PyMySQL's)
_MYSQL_TRY_AGAIN: Final = frozenset(
    (
        *(1021, 1030, 1037, 1038, 1041, 1114),  # no room on its disk or in its memory
        *(1040, 1203, 1226),  # too many connections
        *(1053, 1077, 1079, 1158, 1159, 1160, 1161, 1317, 1927, 4031),  # it ends, or ended the connection or query
        *(1205, 1213),  # a lock
        *(1412, 1637, 1684),  # a table was changed after our moment
        *(1836, 1969, 3024, 3169),
        *(2002, 2003, 2006, 2013, 2014, 2027, 2055),
    )
)
_MYSQL_DENIED: Final = frozenset(
    (
        *(1044, 1045, 1130, 1142, 1143, 1227, 1370, 1396, 1410, 1698, 4151, 3118),
        *(1251, 1275, 1820, 1862, 2058, 2059, 2061),  # it wants another proof, or another password
        *(1129, 2026, 3159),  # host blocked; no TLS, or nothing but TLS
    )
)
_MYSQL_NO_STORE: Final = frozenset((1046, 1049, 1054, 1102, 1146, 1290, 1356, 1792, 1273, 1115))


@contextmanager
def translated_postgres(where: str, setting: str = _SETTING) -> Iterator[None]:
    """Raises our errors for psycopg's; `where` names the store without its password, `setting` where to change it.

    Raises:
        TryAgain: the server is away, busy, or ended the connection. BadSetup: it refuses us, or is not an MLflow store.
        BadRecord: what is stored cannot be read.
    """
    import psycopg  # takes a fifth of a second, which readers of a file or a server need not pay

    try:
        yield
    except (psycopg.DataError, UnicodeError) as err:
        raise BadRecord(where, [f"what is stored there cannot be read: {_first_line(err)}"]) from err
    except psycopg.Error as err:
        raise _from_postgres(err, where, setting) from err


@contextmanager
def translated_sqlite(where: str, setting: str = _SETTING) -> Iterator[None]:
    """Does the same as `translated_postgres`, for SQLite."""
    try:
        yield
    except UnicodeError as err:
        raise BadRecord(where, [f"what is stored there cannot be read: {_first_line(err)}"]) from err
    except sqlite3.Error as err:
        raise _from_sqlite(err, where, setting) from err


@contextmanager
def translated_mysql(where: str, setting: str = _SETTING) -> Iterator[None]:
    """Does the same as `translated_postgres`, for MySQL and MariaDB."""
    try:
        from pymysql import err as mysql
    except ImportError as err:
        raise BadSetup(MISSING_DRIVER) from err
    try:
        yield
    except (mysql.DataError, UnicodeError) as err:
        raise BadRecord(where, [f"what is stored there cannot be read: {_first_line(err)}"]) from err
    except mysql.Error as err:
        raise _from_mysql(err, where, setting) from err


def _from_mysql(err: "mysql.Error", where: str, setting: str) -> SwitchyardError:
    from pymysql import err as mysql

    code = err.args[0] if err.args and isinstance(err.args[0], int) else 0
    said = f"{err.args[-1] if err.args else type(err).__name__}".strip().partition("\n")[0][:300]
    said = f"{said} ({code})" if code else said
    refused = getattr(err, "original_exception", None)
    if isinstance(refused, ssl.SSLError):
        return BadSetup(f"{where}: no encrypted connection: {said}; see the TLS options of {setting}")
    if code in _MYSQL_TRY_AGAIN or (not code and isinstance(err, mysql.InterfaceError | mysql.InternalError)):
        # Without a number, it is PyMySQL's own word for a lost connection.
        return TryAgain(f"{where}: {said}; try again")
    if code in _MYSQL_DENIED:
        return BadSetup(f"{where}: {said}. The server refuses this user, or lets it not read; see {setting}")
    if code in _MYSQL_NO_STORE:
        return BadSetup(f"{where}: {said}; {setting} must name {_to_wanted(setting)}")
    return SwitchyardError(f"{where}: {type(err).__name__}: {said}")


def _from_postgres(err: "psycopg.Error", where: str, setting: str) -> SwitchyardError:
    import psycopg

    said = _first_line(err)
    code = err.sqlstate or ""
    if not code and isinstance(err, psycopg.OperationalError | psycopg.InterfaceError):
        # While connecting, libpq gives the server's words but no code.
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
        return (
            "an MLflow backend store, and a role that may SELECT from its tables (for an export: "
            "docs/mlflow-reference.md)"
        )
    return "an empty database, and a role that may create tables in it"


def _first_line(err: BaseException) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)[:300]
