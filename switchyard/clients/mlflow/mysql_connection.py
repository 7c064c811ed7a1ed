"""Connects to MLflow's backend store on MySQL or MariaDB, as the store's URI says.

Answers of a session are exact, whatever the server's own settings. PyMySQL is the extra `mysql`, imported at first use.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL

from switchyard.clients.mlflow.errors import MISSING_DRIVER, translated_mysql
from switchyard.core.errors import BadSetup

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import SSCursor

CONNECT_S: Final = 10
_SILENCE_S: Final = 900
"""The time-out of an answer: a server that has to sort the rows of a query takes minutes."""
_IDLE_S: Final = 3_600
"""The time that we may need to write what was read, before we ask for more. The server's default is a minute."""
_PAGE: Final = 1_000

# The session's own settings: the server's may cut a text, sort by its beginning, or use another time zone.
_SESSION: Final = (
    f"SET SESSION net_write_timeout = {_IDLE_S}, wait_timeout = {_IDLE_S}, time_zone = '+00:00', max_sort_length = 4096"
)
_ISOLATION: Final = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
_READ_ONLY: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
_SQL_MODE: Final = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"
"""The default experiment's id is 0. Without this mode MySQL would take the next number instead."""

_ONLY_FOR_OTHERS: Final = frozenset(
    ("autocommit", "binary_prefix", "charset", "client_flag", "collation", "local_infile", "use_unicode")
)
"""Options of MLflow's driver that a reader does not need: what it reads is always utf8mb4."""
_NUMBERS: Final = frozenset(("connect_timeout", "read_timeout", "write_timeout"))
_TLS_FILES: Final = {"ssl_ca": "ca", "ssl_capath": "capath", "ssl_cert": "cert", "ssl_key": "key"}
_TLS: Final = frozenset(
    (*_TLS_FILES, "ssl", "ssl_check_hostname", "ssl_disabled", "ssl_mode", "ssl_verify_cert", "ssl_verify_identity")
)
_MODES: Final = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
"""Source: https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode"""


class MysqlServer:
    """Says where a store is, and asks it; `where` names it without its password."""

    def __init__(self, url: URL, setting: str) -> None:
        shown = url.set(drivername="mysql", query={}).render_as_string(hide_password=True)
        self.where = f"MLflow store {shown}"
        self._setting = setting
        self._arguments: dict[str, Any] = {
            "host": url.host or "localhost",
            "port": url.port or 3306,
            "user": url.username or "",
            "password": str(url.password or "").encode(),
            "database": url.database,
            "connect_timeout": CONNECT_S,
            **_to_arguments(url.normalized_query, setting),
        }

    def __repr__(self) -> str:
        """Shows it without the password."""
        return f"MysqlServer({self.where})"

    @contextmanager
    def reading(self) -> Iterator["Connection"]:
        """Opens one transaction of one moment, which can change nothing, whatever our rights are.

        It has its own connection: the server might end a kept one meanwhile.

        Raises: as `translated_mysql`."""
        with self.connected() as connection:
            execute(connection, _READ_ONLY)
            yield connection

    @contextmanager
    def connected(self) -> Iterator["Connection"]:
        """Opens a session without a transaction. Raises: as `translated_mysql`."""
        with translated_mysql(self.where, self._setting), closing(self._connect()) as connection:
            execute(connection, _SESSION)
            execute(connection, _ISOLATION)
            yield connection

    def _connect(self) -> "Connection":
        try:
            from pymysql.connections import Connection
            from pymysql.constants import FIELD_TYPE
            from pymysql.converters import encoders
        except ImportError as err:
            raise BadSetup(MISSING_DRIVER) from err
        socket = self._arguments.get("unix_socket")
        if socket and not Path(socket).exists():
            raise BadSetup(f"{self.where}: there is no socket at {socket}; see unix_socket in {self._setting}")
        # Numbers as numbers, bytes as bytes; all else as the text that the server makes of it.
        whole = (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG)
        decoders = dict.fromkeys(whole, int) | dict.fromkeys((FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE), float)
        arguments = {"read_timeout": CONNECT_S, "write_timeout": _SILENCE_S} | self._arguments
        try:
            connection = Connection(
                **arguments,
                charset="utf8mb4",
                sql_mode=_SQL_MODE,
                conv=encoders | decoders,
                autocommit=True,
                program_name="switchyard",
            )
        except (OSError, RuntimeError, ValueError) as err:  # a certificate's file; `cryptography` is not installed
            raise BadSetup(f"{self.where}: no connection can be made: {err}; see {self._setting}") from err
        # PyMySQL has one timeout for the greeting and for all answers, and looks it up each time.
        connection._read_timeout = self._arguments.get("read_timeout", _SILENCE_S)
        return connection


def execute(connection: "Connection", query: str, values: Any = None) -> list[tuple[Any, ...]]:
    """Returns all rows of a small answer."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def stream(connection: "Connection", query: str, values: Any = None) -> Generator[tuple[Any, ...], None, None]:
    """Yields the rows as they come, a page in memory. The connection answers nothing else until it is closed."""
    from pymysql.cursors import SSCursor

    cursor = SSCursor(connection)
    try:
        cursor.execute(query, values)
        while rows := cursor.fetchmany(_PAGE):
            yield from rows
    finally:
        _close(cursor)


def _close(cursor: "SSCursor") -> None:
    """Reads what is left of the answer.

    PyMySQL would do so even if the connection is gone, and hide its first error by failing over that."""
    try:
        if cursor.connection is not None and cursor.connection.open:
            cursor.close()
    finally:
        if cursor._result is not None:
            cursor._result.unbuffered_active = False
        cursor.connection = None


def quote_mysql(name: str) -> str:
    """Quotes a name as MySQL takes it."""
    return "`" + name.replace("`", "``") + "`"


def _to_arguments(query: Mapping[str, Sequence[str]], setting: str) -> dict[str, Any]:
    """Returns PyMySQL's arguments for a URI's query of MLflow's drivers. Raises: BadSetup: an unknown option."""
    options = {name: values[-1] for name, values in query.items() if name not in _ONLY_FOR_OTHERS}
    unknown = sorted(options.keys() - _NUMBERS - _TLS - {"unix_socket"})
    if unknown:
        known = ", ".join(sorted((*_NUMBERS, *_TLS, "unix_socket")))
        raise BadSetup(f"{setting} has the option {unknown[0]}, which we do not know. Known are {known}")
    found: dict[str, Any] = {}
    for name in sorted(_NUMBERS & options.keys()):
        if not options[name].isdecimal() or not int(options[name]):
            raise BadSetup(f"{setting}: {name} must be a number of seconds; got {options[name]!r}")
        found[name] = int(options[name])
    if "unix_socket" in options:
        found["unix_socket"] = options["unix_socket"]
    return found | _to_tls({name: value for name, value in options.items() if name in _TLS}, setting)


def _to_tls(options: Mapping[str, str], setting: str) -> dict[str, Any]:
    """Encrypts the connection where the server can, unless the URI asks for more, or for none.

    With a CA's file the server must prove who it is, as with SQLAlchemy."""
    files = {_TLS_FILES[name]: value for name, value in options.items() if name in _TLS_FILES}
    for name, path in files.items():
        if not Path(path).exists():
            raise BadSetup(f"{setting}: there is no file at {path}, which ssl_{name} names")
    mode = options.get("ssl_mode", "").upper() or _choose_mode(options, has_ca=bool({"ca", "capath"} & files.keys()))
    if mode not in _MODES:
        raise BadSetup(f"{setting}: ssl_mode must be one of {', '.join(_MODES)}; got {options['ssl_mode']!r}")
    if mode == "DISABLED":
        return {"ssl_disabled": True}
    if mode == "PREFERRED":
        return {}
    is_checked = mode.startswith("VERIFY")
    if is_checked and not {"ca", "capath"} & files.keys():
        raise BadSetup(f"{setting}: ssl_ca must name the file of the CA that signed the server's certificate")
    return {"ssl": files | {"verify_mode": is_checked, "check_hostname": mode == "VERIFY_IDENTITY"}}


def _choose_mode(options: Mapping[str, str], *, has_ca: bool) -> str:
    is_on = {name: value.lower() in ("1", "true", "yes", "on") for name, value in options.items()}
    if is_on.get("ssl_disabled"):
        return "DISABLED"
    if is_on.get("ssl_verify_identity") or is_on.get("ssl_check_hostname"):
        return "VERIFY_IDENTITY"
    if is_on.get("ssl_verify_cert") or (has_ca and is_on.get("ssl_check_hostname") is False):
        return "VERIFY_CA"
    if has_ca:
        return "VERIFY_IDENTITY"
    return "REQUIRED" if options.keys() - {"ssl"} or is_on.get("ssl") else "PREFERRED"
