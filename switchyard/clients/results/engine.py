"""Reaches the results database: connections, transactions, and the check that its schema is this version's.

SQLite and Postgres differ here and in little else.
"""

import hashlib
import sqlite3
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Executable,
    Row,
    column,
    create_engine,
    event,
    exc,
    inspect,
    make_url,
    select,
)
from sqlalchemy import table as table_clause
from sqlalchemy.pool import QueuePool, StaticPool

from switchyard.clients.postgres.deadlines import find_allowance
from switchyard.clients.results.errors import MIGRATE, translated
from switchyard.clients.results.tables import (
    NEEDED_COLUMNS,
    OWN_RUNS,
    SCHEMA,
    VERSION_TABLE,
    HistoryType,
    Tables,
    split_name,
    to_tables,
)
from switchyard.core.errors import BadSetup, TryAgain

LOCK_TIMEOUT_S: Final = 10
_STEPS: Final = 10_000
"""Steps of SQLite's machine between two looks at the time: about a millisecond."""
_POSTGRES_ARGS: Final[dict[str, Any]] = {
    "connect_timeout": 10,  # seconds, like those below except the last
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
    "application_name": "switchyard",
}
_POSTGRES_OPTIONS: Final = (
    f"-c lock_timeout={LOCK_TIMEOUT_S}s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
)
# As many connections as a server of requests has threads; those above pool_size are closed after use.
_POOL: Final[dict[str, Any]] = {
    "poolclass": QueuePool,
    "pool_size": 10,
    "max_overflow": 30,
    "pool_timeout": LOCK_TIMEOUT_S,
    "hide_parameters": True,
}


class Database:
    """One results database, connected at its first use."""

    def __init__(self, url: str, table: str = "") -> None:
        parsed = _parse(url)
        self.table = table
        self.where = f"results database {_shown(parsed)}"
        self.path = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        self.reader, self._writer = _sqlite_engines(self.path) if self.path else _postgres_engines(parsed)
        self._tables: Tables | None = None
        # A database may be dropped without being closed; a driver warns of connections that were not closed.
        weakref.finalize(self, _dispose, self.reader, self._writer)

    def __repr__(self) -> str:
        return f"Database({self.where})"

    @property
    def tables(self) -> Tables:
        """Returns the tables, once their schema was found to be this version's; asked once. Raises: BadSetup."""
        if self._tables is None:
            with translated(self.where), self.reader.connect() as connection:
                check_schema(connection, self.where)
                self._tables = read_tables(connection, self.table, self.where)
        return self._tables

    def check(self) -> None:
        """Finds a wrong schema early. A database that is away shows at the first use, and may be back by then.

        Raises: BadSetup."""
        try:
            _ = self.tables
        except TryAgain:
            return

    def rows(self, statement: Executable, **values: object) -> Sequence[Row[Any]]:
        """Returns what one SELECT finds, in one round trip: no BEGIN, and no test whether the connection lives."""
        with translated(self.where):
            try:
                return self._select(statement, values)
            except exc.DBAPIError as err:
                if not err.connection_invalidated:
                    raise
            # The server has been restarted since: SQLAlchemy has dropped the pool's old connections, so this is new.
            return self._select(statement, values)

    def write_again(self, statement: Executable) -> None:
        """Runs one statement that a second call does not undo or double.

        It is a transaction by itself, on a connection that reads have opened, where `writing` would open its own. If
        that one was lost, it is sent again, as `rows` does."""
        with translated(self.where):
            try:
                self._execute(statement)
            except exc.DBAPIError as err:
                if not err.connection_invalidated:
                    raise
            else:
                return
            self._execute(statement)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Opens one transaction, committed at the end; on SQLite it holds the write lock from its beginning."""
        with translated(self.where), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes all connections; the next use opens new ones."""
        _dispose(self.reader, self._writer)

    def _execute(self, statement: Executable) -> None:
        with self.reader.connect() as connection:
            connection.execute(statement)

    def _select(self, statement: Executable, values: dict[str, object]) -> Sequence[Row[Any]]:
        with self.reader.connect() as connection, _stopped_in_time(connection):
            return connection.execute(statement, values).all()


@contextmanager
def _stopped_in_time(connection: Connection) -> Iterator[None]:
    """Stops SQLite once the caller has no time left: it works in this very thread."""
    allowance = find_allowance()
    if allowance is None or connection.dialect.name != "sqlite":
        yield
        return
    file = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    until = time.thread_time() + allowance.left_s  # of work: a busy machine does not count
    file.set_progress_handler(lambda: time.thread_time() > until, _STEPS)
    try:
        yield
    finally:
        file.set_progress_handler(None, 0)
        allowance.left_s = until - time.thread_time()


def _dispose(*engines: Engine) -> None:
    for engine in engines:
        engine.dispose()


class OneRow:
    """A SELECT of one row by `quick_test_id`, compiled once and run past SQLAlchemy's own bookkeeping.

    It serves what every HTTP request asks: it takes about a third of the time of `Database.rows`.
    """

    def __init__(self, database: Database, statement: Executable) -> None:
        self._database = database
        self._statement = statement
        self._engine = database.reader
        compiled = statement.compile(self._engine)  # type: ignore[attr-defined]  # every ClauseElement has it
        self._sql = str(compiled)
        self._positional = bool(compiled.positional)
        self._error: type[Exception] = cast("Any", self._engine.dialect.loaded_dbapi).Error

    def read(self, quick_test_id: int) -> Sequence[Any] | None:
        """Returns the row's values; None: there is none."""
        try:
            with translated(self._database.where):
                return self._read(quick_test_id)
        except self._error:
            # The connection may be from before the server's restart: the other way finds out, and says the rest.
            return next(iter(self._database.rows(self._statement, quick_test_id=quick_test_id)), None)

    def _read(self, quick_test_id: int) -> Sequence[Any] | None:
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(self._sql, (quick_test_id,) if self._positional else {"quick_test_id": quick_test_id})
            row: Sequence[Any] | None = cursor.fetchone()
            cursor.close()
        except self._error:
            connection.invalidate()
            raise
        connection.close()
        return row


def open_file(path: Path, *, create: bool = False, alone: bool = False) -> sqlite3.Connection:
    """Opens a connection without Python's own handling of transactions.

    Only `create` makes a missing file. Only `alone` refuses a file that another process has open, from its first
    statement on."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=LOCK_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # the pool gives a connection to one thread at a time
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.create_function("sha256_hex", 1, _sha256_hex, deterministic=True)  # as Postgres has it
    if alone:
        # Before the first access: https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    elif create:
        # Readers then never wait for a writer; the file remembers it: https://www.sqlite.org/wal.html
        connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _sha256_hex(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def check_schema(connection: Connection, where: str) -> None:
    """Raises BadSetup if there is no schema, or it is not the one of this version's code."""
    found = read_version(connection)
    if found is None:
        raise BadSetup(f"{where} has no schema yet; {MIGRATE}")
    if found != SCHEMA:
        raise BadSetup(
            f"{where} must have schema {SCHEMA}; found {found}; if that is older, {MIGRATE}; "
            "if it is newer, use the version of Switchyard that made it"
        )


def read_version(connection: Connection) -> str | None:
    """Returns the schema that the database has; None: it was never migrated."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.scalar(select(column("version_num")).select_from(table_clause(VERSION_TABLE)))
    return str(found) if found else None


def read_tables(connection: Connection, table: str, where: str) -> Tables:
    """Returns the tables, with what the database says of the one that holds the runs.

    Raises:
        BadSetup: that table, or a column of it that is needed, is missing.
    """
    schema, name = split_name(table or OWN_RUNS)
    inspector = inspect(connection)
    try:
        columns = {column["name"]: column["type"] for column in inspector.get_columns(name, schema)}
    except exc.NoSuchTableError as err:
        if table:
            raise BadSetup(f"{where} has no table {table}, which RESULTS_TABLE names") from err
        raise BadSetup(
            f"{where} has no table {OWN_RUNS}: it was migrated with RESULTS_TABLE set; set it again"
        ) from err
    missing = [column for column in NEEDED_COLUMNS if column not in columns]
    if missing:
        raise BadSetup(f"table {table or OWN_RUNS} in {where} must have the columns {', '.join(missing)}; add them")
    kind = type(columns["training_history_json"]).__name__.lower()
    return to_tables(table, history_type=cast("HistoryType", kind) if kind in ("json", "jsonb") else "text")


def find_file(url: str) -> tuple[Path | None, str]:
    """Returns the file of an SQLite database, and the database's name in messages. Raises: BadSetup: `url` is wrong."""
    parsed = _parse(url)
    path = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
    return path, f"results database {_shown(parsed)}"


def make_engine_alone(connection: sqlite3.Connection) -> Engine:
    """Makes an engine of this one connection."""
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool, hide_parameters=True)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def make_engine_to_migrate(url: str) -> tuple[Engine, str]:
    """Returns an engine that may create the SQLite file and its folder, and the database's name in messages."""
    path, where = find_file(url)
    if path is None:
        return _postgres_engines(_parse(url))[1], where
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise BadSetup(f"the folder of {where} cannot be made: {err}") from err
    return _sqlite_engines(path, create=True)[1], where


def _sqlite_engines(path: Path, *, create: bool = False) -> tuple[Engine, Engine]:
    reader = create_engine("sqlite://", creator=lambda: open_file(path, create=create), **_POOL)
    writer = reader.execution_options()  # the same pool, other events
    # Not a plain BEGIN: one that reads and then writes loses to another writer at once, whatever the timeout.
    # Source: https://www.sqlite.org/lang_transaction.html#deferred_immediate_and_exclusive_transactions
    event.listen(writer, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    # An open connection follows a file that is moved away, and would read and write there for ever.
    event.listen(reader, "connect", lambda _file, record: record.info.update(place=_find_place(path)))
    event.listen(reader, "checkout", lambda _file, record, _proxy: _check_place(path, record.info["place"]))
    return reader, writer


def _find_place(path: Path) -> tuple[int, int] | None:
    """Returns what tells this file from another one that takes its name; None: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_place(path: Path, place: tuple[int, int] | None) -> None:
    """Raises exc.DisconnectionError if the file is another one by now, or gone: the pool then connects again."""
    if _find_place(path) != place:
        raise exc.DisconnectionError(f"{path} was moved away or replaced")


def _postgres_engines(url: URL) -> tuple[Engine, Engine]:
    # The URL's settings win; of its options each overrides ours of the same name, because the later one counts.
    arguments = {name: value for name, value in _POSTGRES_ARGS.items() if name not in url.query}
    arguments["options"] = " ".join((_POSTGRES_OPTIONS, *url.normalized_query.get("options", ())))
    plain = url.difference_update_query(["options"])
    # A read may be repeated, so `Database.rows` does without the ping that a write needs: half the round trips.
    reader = create_engine(plain, connect_args=arguments, isolation_level="AUTOCOMMIT", **_POOL)
    writer = create_engine(plain, connect_args=arguments, pool_pre_ping=True, **_POOL)
    for engine in (reader, writer):
        event.listen(engine, "do_connect", _connect_bounded)
    return reader, writer


def _connect_bounded(_dialect: Any, _record: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    # Psycopg is loaded where a Postgres is named, and nowhere else.
    from switchyard.clients.postgres.connection import BoundedConnection

    return BoundedConnection.connect(*arguments, **options)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError) as err:
        raise BadSetup("RESULTS_URL must be a database URL, as in .env.example; what is set is not one") from err
    if "@" in (parsed.host or ""):  # the rest of a password, which must not be shown
        raise BadSetup(
            "RESULTS_URL has two @: in the user's name and the password write @ as %40, : as %3A and / as %2F"
        )
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:" and not parsed.query:
        return parsed
    if parsed.drivername == "postgresql+psycopg" and parsed.database:
        return parsed
    raise BadSetup(
        "RESULTS_URL must be sqlite:///<path of a file> or postgresql+psycopg://<user>:<password>@<host>/<database>; "
        f"got {_shown(parsed)}"
    )


def _shown(url: URL) -> str:
    """Shows the URL without the password, which may be in its query too."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return url.set(query={}).render_as_string(hide_password=True)
