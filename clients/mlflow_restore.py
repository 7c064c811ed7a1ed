"""Restores an MLflow backend store from an export alone: the same tables and rows, which an MLflow server of the same
version can be started over."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from clients.mlflow_errors import translated_postgres, translated_sqlite
from clients.mlflow_export import read_export
from clients.mlflow_parts import Row, measure, read_rows
from clients.mlflow_postgres import PostgresTracking
from clients.mlflow_sql import open_store
from clients.mlflow_tables import Table, open_tables
from history.errors import BadRecord, BadRequest, BadSetup
from history.exports import Export, ExportedTable
from history.ports import Objects


def restore_store(at_uri: str, objects: Objects, to_store_uri: str) -> Export:
    """Fills the empty database at `to_store_uri` from the export at `at_uri`, in one transaction: all of it or nothing.
    Then reads it back, and compares every row.

    Raises:
        NotFound: no finished export is at `at_uri`. BadRecord: a part of it is damaged, or what was restored differs.
        BadRequest: the database is not empty (so a second call), or of another kind than the exported one.
        BadSetup: it cannot be written.
    """
    at_uri = at_uri.rstrip("/")
    export = read_export(at_uri, objects)
    is_sqlite = to_store_uri.startswith("sqlite:")
    if is_sqlite != (export.dialect == "sqlite"):
        raise BadRequest(
            f"an export of {export.dialect} is restored into {export.dialect}, whose types and statements it has; "
            f"got a {'sqlite' if is_sqlite else 'postgresql'} database"
        )
    if is_sqlite:
        _restore_sqlite(export, at_uri, objects, Path(make_url(to_store_uri).database or "").absolute())
    else:
        store = open_store(to_store_uri)
        assert isinstance(store, PostgresTracking)
        _restore_postgres(export, at_uri, objects, store)
    compare_store(export, to_store_uri)
    return export


def compare_store(export: Export, store_uri: str) -> None:
    """Holds every row of the store against the export's digests.

    Raises:
        BadRecord: a table is missing, or its rows differ; all such tables at once.
    """
    store = open_tables(store_uri)
    problems = []
    with store.snapshot() as snapshot:
        tables = {table.name: table for table in snapshot.tables()}
        for exported in export.tables:
            table = tables.get(exported.name)
            found = "no such table" if table is None else _compare(exported, table, snapshot.rows(table))
            if found:
                problems.append(f"table {exported.name} must have {exported.rows} rows as exported; got {found}")
    if problems:
        raise BadRecord(store.where, problems)


def _compare(exported: ExportedTable, table: Table, rows: Iterator[Row]) -> str:
    """What is wrong; empty: nothing."""
    if table.columns != exported.columns:
        return f"the columns {', '.join(table.columns)}"
    count = 0
    for part in exported.parts:
        if measure(islice(rows, part.rows)) != (part.rows, part.digest):
            return f"other ones among rows {count} to {count + part.rows}"
        count += part.rows
    return "more" if next(rows, None) is not None else ""


def _restore_postgres(export: Export, at_uri: str, objects: Objects, store: PostgresTracking) -> None:
    with (
        translated_postgres(store.where),
        psycopg.connect(store.conninfo, connect_timeout=10, application_name="switchyard") as connection,
    ):
        (count,) = connection.execute(
            "SELECT count(*) FROM pg_class "
            "WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'S')"
        ).fetchone() or (0,)
        if count:
            raise _not_empty(store.where, count)
        for statement in export.schema.before:
            connection.execute(statement.encode())
        for table in export.tables:
            columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
            query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
            with connection.cursor().copy(query) as copy:
                for row in _rows(table, at_uri, objects):
                    copy.write_row(row)
        for statement in export.schema.after:
            connection.execute(statement.encode())


def _restore_sqlite(export: Export, at_uri: str, objects: Objects, path: Path) -> None:
    where = f"MLflow store sqlite:///{path}"
    with (
        translated_sqlite(where),
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        connection.execute("BEGIN IMMEDIATE")
        (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if count:
            raise _not_empty(where, count)
        for statement in export.schema.before:
            connection.execute(statement)
        for table in export.tables:
            columns = ", ".join(f'"{name}"' for name in table.columns)
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(
                f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})',  # noqa: S608 - names of the export's own
                _rows(table, at_uri, objects),
            )
        for statement in export.schema.after:
            connection.execute(statement)
        connection.execute("COMMIT")


def _rows(table: ExportedTable, at_uri: str, objects: Objects) -> Iterator[Row]:
    for part in table.parts:
        where = f"{at_uri}/{part.name}"
        data, _ = objects.read(where)
        found = measure(read_rows(data, where))
        if found != (part.rows, part.digest):
            problem = (
                f"it must hold {part.rows} rows with {part.digest}; got {found[0]} with {found[1]}: it was changed"
            )
            raise BadRecord(where, [problem])
        yield from read_rows(data, where)


def _not_empty(where: str, count: int) -> BadSetup | BadRequest:
    return BadRequest(f"{where} must be an empty database, so that nothing is mixed or lost; it has {count} tables")
