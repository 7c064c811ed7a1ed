"""Restores an MLflow backend store from an export alone: the same tables and rows.

An MLflow server of the same version can be started over it.
"""

import sqlite3
from collections.abc import Container, Iterator
from contextlib import closing
from itertools import islice
from typing import Final

import psycopg
from psycopg import sql

from switchyard.clients.mlflow.errors import translated_postgres, translated_sqlite
from switchyard.clients.mlflow.export.parts import Row, measure, read_rows
from switchyard.clients.mlflow.export.tables import NO_OTHER, Table, open_tables, quote_name
from switchyard.clients.mlflow.export.writer import read_export
from switchyard.clients.mlflow.postgres import PostgresTracking
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.mlflow.sqlite import SqliteTracking
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound
from switchyard.core.mlflow.export import API, Export, ExportedTable, Moved, Watcher
from switchyard.core.ports import Objects

SETTING: Final = "MLFLOW_RESTORE_STORE_URI"


def restore_store(
    at_uri: str, objects: Objects, to_store_uri: str, *, watch: Watcher = lambda moved: None
) -> tuple[Export, bool]:
    """Fills the empty database at `to_store_uri` from the export at `at_uri`, then compares every row.

    That is one transaction: all or nothing. On MySQL, CREATE TABLE ends a transaction, so what a killed call leaves is
    marked, and the next call makes it again. Beside the export it returns true: this call filled the database; or
    false: it held exactly the export already, as on a second call.

    Raises:
        NotFound: there is no finished export at `at_uri`. BadRecord: a part is damaged, or what was restored differs.
        BadRequest: the database holds something else, or is not of the exported kind.
        BadSetup: it cannot be written. TryAgain: it, or the objects, are away.
    """
    at_uri = at_uri.rstrip("/")
    export = read_export(at_uri, objects)
    store = open_store(to_store_uri, setting=SETTING, otherwise=NO_OTHER)
    if export.dialect == API:
        raise BadRequest(
            f"the export at {at_uri} was made of what {export.source} answered. It has no schema, and not all that a "
            "database holds, so MLflow could not go on with it. Nothing was restored. Publish from it instead: "
            f"switchyard backfill --export-uri {at_uri}"
        )
    dialect = open_tables(to_store_uri, setting=SETTING).dialect
    if dialect != export.dialect:
        raise BadRequest(
            f"an export of {export.dialect} can only be restored into {export.dialect}, with its types and statements; "
            f"{SETTING} names a {dialect} database"
        )
    source = _Source(export, at_uri, objects, watch)
    if isinstance(store, PostgresTracking):
        found = _restore_postgres(source, store)
    elif isinstance(store, SqliteTracking):
        found = _restore_sqlite(source, store)
    else:
        from switchyard.clients.mlflow.export.mysql_restore import fill_mysql

        found = fill_mysql(export, source.rows, store.server)
    if not found:
        compare_store(export, to_store_uri, watch)
        return export, True
    # Not empty: an earlier call filled it and its answer was lost, or it is someone else's.
    problems = [f"it has {found} tables; the export {len(export.tables)}"] if found != len(export.tables) else []
    try:
        if not problems:
            compare_store(export, to_store_uri, watch)
    except (BadRecord, BadSetup) as err:
        problems = [str(err)]
    if problems:
        raise BadRequest(
            f"{store.where} is neither an empty database nor exactly this export: {problems[0]}. Nothing was "
            f"restored, so that nothing is mixed or lost. Name an empty one in {SETTING}"
        )
    return export, False


def compare_store(export: Export, store_uri: str, watch: Watcher = lambda moved: None) -> None:
    """Compares every row of the store with the export's digests.

    Raises:
        BadRecord: a table is missing, or its rows differ. It names all such tables at once.
    """
    store = open_tables(store_uri, setting=SETTING)
    problems = []
    done = 0
    with store.snapshot() as snapshot:
        tables = {table.name: table for table in snapshot.tables()}
        for exported in export.tables:
            table = tables.get(exported.name)
            found = "no such table" if table is None else _compare(exported, table, snapshot.rows(table))
            if found:
                problems.append(f"table {exported.name} must have {exported.rows} rows as exported; got {found}")
            done += exported.rows
            watch(Moved("comparing", exported.name, done, export.rows))
    if problems:
        raise BadRecord(store.where, problems)


def list_changed(at_uri: str, objects: Objects, store_uri: str, names: Container[str]) -> list[str]:
    """Returns the tables of these `names` in which the store has other rows than the export at `at_uri`.

    All tables that both have are compared to the last bit. The list is empty if the export is of a server or a
    folder, or of another kind of database: those rows cannot be compared.

    Raises: NotFound, BadRecord: as `read_export`. BadSetup, TryAgain: the store cannot be read.
    """
    export = read_export(at_uri, objects)
    store = open_tables(store_uri)
    if store.dialect != export.dialect:
        return []
    changed = []
    with store.lenient_snapshot() as snapshot:
        tables = {table.name: table for table in snapshot.tables()}
        for exported in export.tables:
            table = tables.get(exported.name) if exported.name in names else None
            if table is not None:
                with closing(snapshot.rows(table)) as rows:  # an open stream would block the next one
                    if _compare(exported, table, rows):
                        changed.append(exported.name)
    return changed


def _compare(exported: ExportedTable, table: Table, rows: Iterator[Row]) -> str:
    """Returns what is wrong; empty: nothing."""
    if table.columns != exported.columns:
        return f"the columns {', '.join(table.columns)}"
    count = 0
    for part in exported.parts:
        if measure(islice(rows, part.rows)) != (part.rows, part.digest):
            return f"other ones among rows {count} to {count + part.rows}"
        count += part.rows
    return "more" if next(rows, None) is not None else ""


def _restore_postgres(source: "_Source", store: PostgresTracking) -> int:
    """Fills the database and returns 0; if there are tables already, does nothing and returns how many."""
    with (
        translated_postgres(store.where, SETTING),
        psycopg.connect(store.conninfo, connect_timeout=10, application_name="switchyard") as connection,
    ):
        (count,) = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
        ).fetchone() or (0,)
        if count:
            return int(count)
        for statement in source.export.schema.before:
            connection.execute(statement.encode())
        for table in source.export.tables:
            columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
            query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
            with connection.cursor().copy(query) as copy:
                for row in source.rows(table):
                    copy.write_row(row)
        for statement in source.export.schema.after:
            connection.execute(statement.encode())
    return 0


def _restore_sqlite(source: "_Source", store: SqliteTracking) -> int:
    """Does the same as `_restore_postgres`."""
    with (
        translated_sqlite(store.where, SETTING),
        closing(sqlite3.connect(store.path, isolation_level=None)) as connection,
    ):
        connection.execute("BEGIN IMMEDIATE")
        (count,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite^_%' ESCAPE '^'"
        ).fetchone()
        if count:
            return int(count)
        for statement in source.export.schema.before:
            connection.execute(statement)
        for table in source.export.tables:
            columns = ", ".join(map(quote_name, table.columns))
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(
                f"INSERT INTO {quote_name(table.name)} ({columns}) VALUES ({marks})",  # noqa: S608 - quoted names
                source.rows(table),
            )
        for statement in source.export.schema.after:
            connection.execute(statement)
        connection.execute("COMMIT")
    return 0


class _Source:
    """Reads the export that is restored."""

    def __init__(self, export: Export, at_uri: str, objects: Objects, watch: Watcher) -> None:
        self.export = export
        self._at_uri = at_uri
        self._objects = objects
        self._watch = watch
        self._done = 0

    def rows(self, table: ExportedTable) -> Iterator[Row]:
        """Yields the rows of one table, in order; none of a part before the whole part is known to be right."""
        for part in table.parts:
            where = f"{self._at_uri}/{part.name}"
            try:
                data, _ = self._objects.read(where)
            except NotFound as err:
                raise BadRecord(where, ["this part of the export is missing"]) from err
            found = measure(read_rows(data, where))
            if found != (part.rows, part.digest):
                problem = f"it must hold {part.rows} rows with {part.digest}; got {found[0]} with {found[1]}"
                raise BadRecord(where, [f"{problem}: it was changed"])
            yield from read_rows(data, where)
            self._done += part.rows
            self._watch(Moved("restoring", table.name, self._done, self.export.rows))
