"""Reads the raw tables of an MLflow backend store, for export and restore.

It says what there is and how to make it again, and yields every row in a fixed order. It does not know what a table
means.
"""

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

import msgspec
import psycopg
from psycopg import IsolationLevel, ServerCursor, sql
from psycopg.rows import TupleRow

from switchyard.clients.mlflow.errors import translated_postgres, translated_sqlite
from switchyard.clients.mlflow.export.ddl import read_schema
from switchyard.clients.mlflow.export.parts import Row
from switchyard.clients.mlflow.postgres import PostgresTracking
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.mlflow.sqlite import SqliteTracking
from switchyard.core.mlflow.export import RUN_COLUMN, Dialect, StoreSchema

_PAGE: Final = 2_000
LARGE: Final = 200_000
"""The limit in rows: a larger table of runs' rows is read in groups of runs, by the index on their id."""


class Table(msgspec.Struct, frozen=True):
    """A table that can be filled: generated columns are left out."""

    name: str
    columns: list[str]
    order: list[str]  # the columns by which its rows are sorted; those of the primary key where there is one
    as_text: frozenset[str] = frozenset()  # columns of a type that only the database knows

    @property
    def by_run(self) -> bool:
        """Returns true if each row belongs to one run."""
        return RUN_COLUMN in self.columns


class Snapshot(Protocol):
    """A store at one moment."""

    def schema(self) -> StoreSchema:
        """Returns how to make it again."""

    def tables(self) -> list[Table]:
        """Returns all of them, referenced ones first."""

    def count(self, table: Table) -> int:
        """Returns the number of its rows, as the database counts them."""

    def rows(self, table: Table) -> Generator[Row, None, None]:
        """Yields every row, sorted: by run first where there is one. Read in pages."""


class Tables(Protocol):
    """Reads the tables of a store."""

    dialect: Dialect
    where: str

    def read_version(self) -> str:
        """Returns the schema's version. Raises: BadSetup: we do not know it."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Opens a snapshot. All that is read from it is of one moment."""

    def lenient_snapshot(self) -> AbstractContextManager[Snapshot]:
        """Opens one in which a damaged text does not hide the others."""


NO_OTHER: Final = "no other store can be exported or restored"


def open_tables(uri: str, *, setting: str = "MLFLOW_BACKEND_STORE_URI") -> Tables:
    """Opens the store at `uri`, as `clients.mlflow.sql.open_store` takes it. Raises: BadSetup."""
    store = open_store(uri, setting=setting, otherwise=NO_OTHER)
    if isinstance(store, PostgresTracking):
        return PostgresTables(store)
    if isinstance(store, SqliteTracking):
        return SqliteTables(store)
    from switchyard.clients.mlflow.export.mysql_tables import MysqlTables

    return MysqlTables(store)


class PostgresTables:
    """Implements `Tables` on Postgres: those of the schema that comes first on the search path."""

    dialect: Dialect = "postgresql"

    def __init__(self, store: PostgresTracking) -> None:
        self._store = store
        self.where = store.where

    def read_version(self) -> str:
        """See `Tables`."""
        try:
            return self._store.read_version()
        finally:
            self._store.close()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """See `Tables`."""
        with (
            translated_postgres(self.where),
            psycopg.connect(self._store.conninfo, connect_timeout=10, application_name="switchyard") as connection,
        ):
            connection.read_only = True
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            yield PostgresSnapshot(connection)

    def lenient_snapshot(self) -> AbstractContextManager[Snapshot]:
        """Returns the same: Postgres holds only valid UTF-8."""
        return self.snapshot()


class PostgresSnapshot:
    """Implements `Snapshot` in one transaction."""

    def __init__(self, connection: psycopg.Connection[TupleRow]) -> None:
        self._connection = connection

    def schema(self) -> StoreSchema:
        """See `Snapshot`."""
        return read_schema(self._connection)

    def tables(self) -> list[Table]:
        """See `Snapshot`."""
        rows = self._connection.execute(
            """SELECT c.relname, array_agg(a.attname ORDER BY a.attnum),
                array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE t.typname NOT IN
                    ('int2', 'int4', 'int8', 'float8', 'bool', 'text', 'varchar', 'bytea')),
                (SELECT array_agg(k.attname ORDER BY array_position(i.indkey::int2[], k.attnum))
                    FROM pg_index i JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = ANY(i.indkey)
                    WHERE i.indrelid = c.oid AND i.indisprimary)
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND a.attgenerated = '' JOIN pg_type t ON t.oid = a.atttypid
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
            GROUP BY c.oid, c.relname ORDER BY c.relname"""
        ).fetchall()
        return [to_table(name, columns, key, as_text) for name, columns, as_text, key in rows]

    def count(self, table: Table) -> int:
        """See `Snapshot`."""
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table.name))
        (count,) = self._connection.execute(query).fetchone() or (0,)
        return int(count)

    def rows(self, table: Table) -> Generator[Row, None, None]:
        """See `Snapshot`."""
        groups = list(self._groups(table)) if table.by_run else [None]
        for group in groups:
            with ServerCursor(self._connection, "rows") as cursor:
                cursor.itersize = _PAGE
                cursor.execute(self._select(table, grouped=group is not None), None if group is None else (group,))
                yield from cursor

    def _select(self, table: Table, *, grouped: bool) -> sql.Composed:
        columns = [
            sql.SQL("{}::text").format(sql.Identifier(name)) if name in table.as_text else sql.Identifier(name)
            for name in table.columns
        ]
        # As text, in the order of code points: a database's own language sorts differently from machine to machine.
        order = [sql.SQL('{}::text COLLATE "C"').format(sql.Identifier(name)) for name in table.order]
        return sql.SQL("SELECT {} FROM {}{} ORDER BY {}").format(
            sql.SQL(", ").join(columns),
            sql.Identifier(table.name),
            sql.SQL(" WHERE {} = ANY(%s)").format(sql.Identifier(RUN_COLUMN)) if grouped else sql.SQL(""),
            sql.SQL(", ").join(order),
        )

    def _groups(self, table: Table) -> Iterator[list[str] | None]:
        """Groups runs with up to LARGE rows together, in the order of their ids: the server sorts no large table."""
        counting = sql.SQL('SELECT {0}, count(*) FROM {1} GROUP BY {0} ORDER BY {0} COLLATE "C"')
        query = counting.format(sql.Identifier(RUN_COLUMN), sql.Identifier(table.name))
        counts = self._connection.execute(query).fetchall()
        if sum(count for _, count in counts) <= LARGE or any(run_id is None for run_id, _ in counts):
            yield None
            return
        group: list[str] = []
        size = 0
        for run_id, count in counts:
            if group and size + count > LARGE:
                yield group
                group, size = [], 0
            group.append(run_id)
            size += count
        yield group


class SqliteTables:
    """Implements `Tables` on a file."""

    dialect: Dialect = "sqlite"

    def __init__(self, store: SqliteTracking) -> None:
        self._store = store
        self.where = store.where

    def read_version(self) -> str:
        """See `Tables`."""
        return self._store.read_version()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """See `Tables`."""
        with translated_sqlite(self.where), closing(connect_read_only(self._store.path)) as connection:
            connection.execute("BEGIN")
            yield SqliteSnapshot(connection)

    @contextmanager
    def lenient_snapshot(self) -> Iterator[Snapshot]:
        """Returns the same; what is not UTF-8 is read as U+FFFD."""
        with translated_sqlite(self.where), closing(connect_read_only(self._store.path)) as connection:
            connection.text_factory = lambda stored: stored.decode(errors="replace")
            connection.execute("BEGIN")
            yield SqliteSnapshot(connection)


class SqliteSnapshot:
    """Implements `Snapshot` in one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def schema(self) -> StoreSchema:
        """Returns the very statements that made it."""
        found = self._connection.execute(
            "SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite^_%' ESCAPE '^' "
            "ORDER BY rowid"
        ).fetchall()
        return StoreSchema(
            before=[statement for kind, statement in found if kind == "table"],
            # Triggers last, so that none fires for a row that is restored.
            after=[statement for wanted in ("index", "view", "trigger") for kind, statement in found if kind == wanted],
        )

    def tables(self) -> list[Table]:
        """See `Snapshot`."""
        names = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite^_%' ESCAPE '^' ORDER BY name"
        ).fetchall()
        found = []
        for (name,) in names:
            columns = self._connection.execute("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,))
            keyed = columns.fetchall()
            key = [column for column, position in sorted(keyed, key=lambda at: at[1]) if position]
            found.append(to_table(name, [column for column, _ in keyed], key, None))
        return found

    def count(self, table: Table) -> int:
        """See `Snapshot`."""
        (count,) = self._connection.execute(f"SELECT count(*) FROM {quote_name(table.name)}").fetchone()  # noqa: S608 - as below
        return int(count)

    def rows(self, table: Table) -> Generator[Row, None, None]:
        """See `Snapshot`."""
        columns, order = (", ".join(map(quote_name, names)) for names in (table.columns, table.order))
        yield from self._connection.execute(f"SELECT {columns} FROM {quote_name(table.name)} ORDER BY {order}")  # noqa: S608 - quoted names


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Opens a connection that cannot change anything; the file must exist."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10, isolation_level=None)


def quote_name(name: str) -> str:
    """Quotes a name as SQLite takes it."""
    return '"' + name.replace('"', '""') + '"'


def to_table(name: str, columns: Sequence[str], key: Sequence[str] | None, as_text: Sequence[str] | None) -> Table:
    """Returns the table, sorted by its key; by run first if its rows belong to runs."""
    order = list(key or columns)
    if RUN_COLUMN in columns:
        order = [RUN_COLUMN, *(column for column in order if column != RUN_COLUMN)]
    return Table(name, list(columns), order, frozenset(as_text or ()))
