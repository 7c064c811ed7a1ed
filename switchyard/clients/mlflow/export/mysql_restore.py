"""Fills an empty MySQL or MariaDB database from an export.

CREATE TABLE ends a transaction there, so a mark in the database says what is not whole yet.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from switchyard.clients.mlflow.export.mysql_tables import TABLE_NAMES
from switchyard.clients.mlflow.export.parts import Row
from switchyard.clients.mlflow.mysql_connection import MysqlServer, execute, quote_mysql
from switchyard.core.batches import batched
from switchyard.core.errors import BadRequest
from switchyard.core.mlflow.export import Export, ExportedTable

if TYPE_CHECKING:
    from pymysql.connections import Connection

UNFINISHED: Final = "switchyard_unfinished_restore"
_BATCH: Final = 1_000
# The rows come from a store in which they held, and are compared when all are there.
_UNCHECKED: Final = "SET SESSION foreign_key_checks = 0, unique_checks = 0"
_LOCK: Final = "SELECT GET_LOCK(CONCAT('switchyard ', MD5(DATABASE())), 0)"


def fill_mysql(export: Export, rows: Callable[[ExportedTable], Iterator[Row]], server: MysqlServer) -> int:
    """Fills the database and returns 0; if there are tables already, does nothing and returns how many.

    What a killed call left is dropped, and made again.

    Raises: BadRequest: another restore into it is under way.
    """
    with server.connected() as connection:
        ((is_ours,),) = execute(connection, _LOCK)
        if is_ours != 1:
            raise BadRequest(f"another restore into {server.where} is under way: wait for it")
        execute(connection, _UNCHECKED)
        found = _drop_unfinished(connection, export)
        if found:
            return found
        execute(connection, f"CREATE TABLE {UNFINISHED} (says VARCHAR(200)) ENGINE=InnoDB")
        for statement in export.schema.before:
            execute(connection, statement)
        connection.begin()
        for table in export.tables:
            _fill(connection, table, rows(table))
        connection.commit()
        for statement in export.schema.after:
            execute(connection, statement)
        execute(connection, f"DROP TABLE {UNFINISHED}")
    return 0


def _drop_unfinished(connection: "Connection", export: Export) -> int:
    """Returns how many tables there are that no unfinished restore made."""
    names = [name for (name,) in execute(connection, TABLE_NAMES)]
    if UNFINISHED not in names:
        return len(names)
    ours = {UNFINISHED, *(table.name for table in export.tables)}
    if not ours.issuperset(names):
        return len(names)
    # The mark goes last: if this call is killed, the next call still knows.
    for name in sorted(names, key=lambda name: name == UNFINISHED):
        execute(connection, f"DROP TABLE {quote_mysql(name)}")
    return 0


def _fill(connection: "Connection", table: ExportedTable, rows: Iterable[Row]) -> None:
    columns = ", ".join(map(quote_mysql, table.columns))
    marks = ", ".join(["%s"] * len(table.columns))
    query = f"INSERT INTO {quote_mysql(table.name)} ({columns}) VALUES ({marks})"  # noqa: S608 - quoted names
    for batch in batched(rows, _BATCH):
        with connection.cursor() as cursor:
            cursor.executemany(query, batch)
