"""Reads and restores the raw tables of an MLflow backend store on MySQL or MariaDB.

The statements that make them again are the server's own, with its types, collations and next numbers.
"""

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

from switchyard.clients.mlflow.export.parts import Row
from switchyard.clients.mlflow.export.tables import LARGE, Snapshot, Table, to_table
from switchyard.clients.mlflow.mysql import MysqlTracking
from switchyard.clients.mlflow.mysql_connection import execute, quote_mysql, stream
from switchyard.core.errors import BadSetup
from switchyard.core.mlflow.export import RUN_COLUMN, Dialect, StoreSchema

if TYPE_CHECKING:
    from pymysql.connections import Connection

TABLE_NAMES: Final = (
    "SELECT table_name FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY CAST(table_name AS BINARY)"
)
_NO_SNAPSHOT: Final = (
    "SELECT table_name, engine FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND engine <> 'InnoDB' ORDER BY table_name"
)
_COLUMNS: Final = """
    SELECT table_name, column_name, data_type, column_type FROM information_schema.columns
    WHERE table_schema = DATABASE() AND coalesce(generation_expression, '') = ''
    ORDER BY table_name, ordinal_position"""
_KEYS: Final = """
    SELECT table_name, column_name FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND index_name = 'PRIMARY' ORDER BY table_name, seq_in_index"""
_TRIGGERS: Final = """
    SELECT trigger_name, action_timing, event_manipulation, event_object_table, action_statement
    FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY event_object_table, action_order"""
_OTHERS: Final = """
    SELECT CONCAT('view or sequence ', table_name) FROM information_schema.tables
        WHERE table_schema = DATABASE() AND table_type <> 'BASE TABLE'
    UNION ALL SELECT CONCAT(LOWER(routine_type), ' ', routine_name) FROM information_schema.routines
        WHERE routine_schema = DATABASE()
    UNION ALL SELECT CONCAT('event ', event_name) FROM information_schema.events WHERE event_schema = DATABASE()
    ORDER BY 1"""
_NUMBERS: Final = frozenset(("tinyint", "smallint", "mediumint", "int", "bigint", "float", "double"))
_BYTES: Final = frozenset(("tinyblob", "blob", "mediumblob", "longblob", "binary", "varbinary", "bit"))
_TEXTS: Final = frozenset(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"))
_HEX: Final = re.compile("[0-9a-f]*")
"""Columns that every collation sorts as code points do: MLflow's own ids."""


class MysqlTables:
    """Implements `Tables` on one database."""

    dialect: Dialect = "mysql"

    def __init__(self, store: MysqlTracking) -> None:
        self._store = store
        self.where = store.where

    def read_version(self) -> str:
        """See `Tables`."""
        return self._store.read_version()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """See `Tables`. Raises: BadSetup: a table's engine cannot show one moment, so its rows could be of several."""
        with self._store.server.reading() as connection:
            others = execute(connection, _NO_SNAPSHOT)
            if others:
                name, engine = others[0]
                raise BadSetup(
                    f"table {name} of {self.where} is kept by {engine}, which cannot show it as of one moment. On a "
                    f"copy of the database: ALTER TABLE {quote_mysql(name)} ENGINE=InnoDB"
                )
            yield MysqlSnapshot(connection)

    def lenient_snapshot(self) -> AbstractContextManager[Snapshot]:
        """Returns the same: the server sends only valid UTF-8."""
        return self.snapshot()


class MysqlSnapshot:
    """Implements `Snapshot` in one transaction."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._kinds: dict[tuple[str, str], str] = {}
        self._keyed: set[str] = set()  # tables with a primary key

    def schema(self) -> StoreSchema:
        """See `Snapshot`."""
        ((charset, collation),) = execute(self._connection, "SELECT @@character_set_database, @@collation_database")
        # For tables that a later MLflow adds: their foreign keys must have the same collation.
        before = [f"ALTER DATABASE CHARACTER SET {charset} COLLATE {collation}"]
        for (name,) in execute(self._connection, TABLE_NAMES):
            (found,) = execute(self._connection, f"SHOW CREATE TABLE {quote_mysql(name)}")
            before.append(str(found[1]))
        triggers = [
            f"CREATE TRIGGER {quote_mysql(name)} {timing} {event} ON {quote_mysql(table)} FOR EACH ROW {statement}"
            for name, timing, event, table, statement in execute(self._connection, _TRIGGERS)
        ]
        left_out = [str(found) for (found,) in execute(self._connection, _OTHERS)]
        if not triggers and not self._may_see_triggers():
            left_out.append("triggers, if there are any: this user may not see them (GRANT TRIGGER)")
        # Last, so that no trigger fires for a row that is restored.
        return StoreSchema(before=before, after=triggers, left_out=left_out)

    def tables(self) -> list[Table]:
        """Lists them by name. Rows are filled in while foreign keys are not checked."""
        columns: dict[str, list[str]] = {}
        as_text: dict[str, set[str]] = {}
        for table, name, kind, whole in execute(self._connection, _COLUMNS):
            columns.setdefault(table, []).append(name)
            self._kinds[table, name] = kind
            if kind not in _NUMBERS | _BYTES | _TEXTS or (kind == "bigint" and "unsigned" in whole):
                as_text.setdefault(table, set()).add(name)
        keys: dict[str, list[str]] = {}
        for table, name in execute(self._connection, _KEYS):
            keys.setdefault(table, []).append(name)
        self._keyed = set(keys)
        return [
            to_table(name, columns[name], keys.get(name), sorted(as_text.get(name, ())))
            for (name,) in execute(self._connection, TABLE_NAMES)
        ]

    def count(self, table: Table) -> int:
        """See `Snapshot`."""
        ((count,),) = execute(self._connection, f"SELECT count(*) FROM {quote_mysql(table.name)}")  # noqa: S608 - quoted
        return int(count)

    def rows(self, table: Table) -> Generator[Row, None, None]:
        """See `Snapshot`. Sorts by the primary key's own order, in which the index has the rows.

        To a primary key no two rows are the same, however its collation compares. So that order is always the same."""
        counts = self._count_by_run(table) if table.by_run else {}
        is_keyed = table.name in self._keyed and all(map(_HEX.fullmatch, counts))
        columns = ", ".join(self._select(table, name) for name in table.columns)
        order = ", ".join(quote_mysql(name) if is_keyed else self._to_points(table, name) for name in table.order)
        query = f"SELECT {columns} FROM {quote_mysql(table.name)}"  # noqa: S608 - quoted names
        for group in _group(counts):
            where, values = ("", None) if group is None else (f" WHERE {quote_mysql(RUN_COLUMN)} IN %s", (group,))
            with closing(stream(self._connection, f"{query}{where} ORDER BY {order}", values)) as rows:
                yield from rows

    def _select(self, table: Table, name: str) -> str:
        column = quote_mysql(name)
        if self._kinds.get((table.name, name)) == "float":  # printed with six digits
            return f"CAST({column} AS DOUBLE)"
        return f"CAST({column} AS CHAR)" if name in table.as_text else column

    def _to_points(self, table: Table, name: str) -> str:
        """Sorts by code points, as our readers of runs need it; numbers as numbers."""
        column = quote_mysql(name)
        kind = self._kinds.get((table.name, name))
        if kind in _NUMBERS:
            return column
        return f"CAST({column if kind in _BYTES else f'CONVERT({column} USING utf8mb4)'} AS BINARY)"

    def _count_by_run(self, table: Table) -> dict[str, int]:
        """Counts by the letter. A row with NULL for its run belongs to none: such a table is read in one piece."""
        run = f"CAST(CONVERT({quote_mysql(RUN_COLUMN)} USING utf8mb4) AS BINARY)"
        query = f"SELECT {run}, count(*) FROM {quote_mysql(table.name)} GROUP BY 1 ORDER BY 1"  # noqa: S608 - quoted
        return {"NULL" if found is None else found.decode(): count for found, count in execute(self._connection, query)}

    def _may_see_triggers(self) -> bool:
        grants: list[Any] = [found for (found,) in execute(self._connection, "SHOW GRANTS")]
        return any("TRIGGER" in str(grant) or "ALL PRIVILEGES" in str(grant) for grant in grants)


def _group(counts: Mapping[str, int]) -> Iterator[list[str] | None]:
    """Groups runs with no more than LARGE rows together, in the order of their ids: the server sorts no large table.

    None: all rows at once. Ids that are not hexadecimal may be equal to a collation, and are not divided."""
    if sum(counts.values()) <= LARGE or not all(map(_HEX.fullmatch, counts)):
        yield None
        return
    group: list[str] = []
    size = 0
    for run_id, count in counts.items():
        if group and size + count > LARGE:
            yield group
            group, size = [], 0
        group.append(run_id)
        size += count
    yield group
