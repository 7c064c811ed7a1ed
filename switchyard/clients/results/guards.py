"""Finds the registry's triggers that a restore into Postgres has lost, and makes them again.

A dump of tables has no functions, so `pg_restore` into a new database makes the tables without the triggers that refuse
to change or delete what is kept for ever. An SQLite database is one file, which a copy has whole. Migration 0005 makes
them first.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, text

KEPT: Final[Mapping[str, tuple[str, ...]]] = {
    "switchyard_model_transitions": ("UPDATE", "DELETE"),
    "switchyard_model_files": ("UPDATE", "DELETE"),
    "switchyard_model_versions": ("DELETE",),
}
"""What each table always refuses. Migration 0005 says it too, and stays as it was; a test compares what both make."""
_FIND: Final = text(
    "SELECT 1 FROM pg_trigger "
    "WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgrelid = to_regclass(:table) AND tgname = :trigger"
)
_MAKE_FUNCTION: Final = text(
    "CREATE FUNCTION switchyard_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE EXCEPTION '% of a row of % is refused: it is kept for ever', TG_OP, TG_TABLE_NAME; END $$"
)


def find_unguarded(connection: Connection) -> list[str]:
    """Returns the registry's tables that have lost their trigger, or have it switched off."""
    if connection.dialect.name != "postgresql":
        return []
    return [
        table
        for table in KEPT
        if connection.scalar(text("SELECT to_regclass(:table)"), {"table": table}) is not None
        and connection.scalar(_FIND, {"table": table, "trigger": to_trigger(table)}) is None
    ]


def guard(connection: Connection, tables: list[str]) -> None:
    """Makes the triggers of these tables, as `find_unguarded` lists them; a second call finds none to make."""
    if connection.scalar(text("SELECT to_regproc('switchyard_refuse')")) is None:
        connection.execute(_MAKE_FUNCTION)
    for table in tables:
        connection.execute(text(f"DROP TRIGGER IF EXISTS {to_trigger(table)} ON {table}"))  # one that is switched off
        connection.execute(
            text(
                f"CREATE TRIGGER {to_trigger(table)} BEFORE {' OR '.join(KEPT[table])} ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION switchyard_refuse()"
            )
        )


def to_trigger(table: str) -> str:
    """Returns the name of a table's trigger."""
    return f"{table}_kept"
