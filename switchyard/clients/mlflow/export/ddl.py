"""Reads the statements that make a Postgres schema's tables again, from its own catalog.

`pg_dump --schema-only` says the same, but that program must have the server's version.
"""

from typing import Any, Final

import psycopg
from psycopg import sql

from switchyard.core.mlflow.export import StoreSchema

_COLUMNS: Final = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
        a.attidentity, a.attgenerated
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' ORDER BY c.relname, a.attnum"""
# Not-null constraints are said with their columns (Postgres 18 lists them here too); foreign keys come last.
_CONSTRAINTS: Final = """
    SELECT c.relname, k.conname, pg_get_constraintdef(k.oid, true), k.contype
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND k.contype IN ('p', 'u', 'c', 'x', 'f')
    ORDER BY k.contype = 'f', c.relname, k.contype <> 'p', k.conname"""
_INDEXES: Final = """
    SELECT pg_get_indexdef(i.indexrelid, 0, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
        AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
    ORDER BY 1"""
_SEQUENCES: Final = """
    SELECT s.relname, format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache,
        q.seqcycle, t.relname, a.attname, d.deptype
    FROM pg_class s JOIN pg_sequence q ON q.seqrelid = s.oid
        LEFT JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
            AND d.refobjsubid > 0
        LEFT JOIN pg_class t ON t.oid = d.refobjid
        LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE s.relnamespace = current_schema()::regnamespace AND s.relkind = 'S' ORDER BY s.relname"""
# MLflow 3 has a trigger that guards its secrets. What belongs to an extension is made with that.
_FUNCTIONS: Final = """
    SELECT pg_get_functiondef(p.oid), current_schema() FROM pg_proc p
    WHERE p.pronamespace = current_schema()::regnamespace AND p.prokind IN ('f', 'p')
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    ORDER BY p.proname, p.oid"""
_TRIGGERS: Final = """
    SELECT pg_get_triggerdef(t.oid, true) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal ORDER BY c.relname, t.tgname"""
_OTHERS: Final = """
    SELECT 'view or partition ' || relname FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('v', 'm', 'p', 'f')
    UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = current_schema()::regnamespace
        AND typtype IN ('e', 'd')
    UNION ALL SELECT 'aggregate ' || proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
        AND prokind IN ('a', 'w') ORDER BY 1"""


def read_schema(connection: psycopg.Connection[Any]) -> StoreSchema:
    """Returns the statements for the first schema on the search path. None names it, so they fit any other."""
    before, after = [], []
    for name, kind, start, step, least, most, cache, cycle, table, column, owned in connection.execute(_SEQUENCES):
        (last, is_called) = _read_sequence(connection, name)
        if owned == "i":  # an identity column makes its own
            after.append(
                f"SELECT setval(pg_get_serial_sequence({_text(_name(table))}, {_text(column)}), {last}, {is_called})"
            )
            continue
        before.append(
            f"CREATE SEQUENCE {_name(name)} AS {kind} INCREMENT {step} MINVALUE {least} MAXVALUE {most} START {start} "
            f"CACHE {cache}{' CYCLE' if cycle else ''}"
        )
        after.append(f"SELECT setval({_text(_name(name))}, {last}, {is_called})")
        if table:
            after.append(f"ALTER SEQUENCE {_name(name)} OWNED BY {_name(table)}.{_name(column)}")
    columns: dict[str, list[str]] = {}
    for table, *column in connection.execute(_COLUMNS):
        columns.setdefault(table, []).append(_to_column(*column))
    before += [f"CREATE TABLE {_name(table)} ({', '.join(found)})" for table, found in columns.items()]
    indexes = [statement for (statement,) in connection.execute(_INDEXES)]
    keys: list[str] = []
    references: list[str] = []
    for table, name, definition, kind in connection.execute(_CONSTRAINTS):
        statements = references if kind in ("f", b"f") else keys
        statements.append(f"ALTER TABLE {_name(table)} ADD CONSTRAINT {_name(name)} {definition}")
    # Last, so that no trigger fires for a row that is restored.
    after += [_without_schema(statement, schema) for statement, schema in connection.execute(_FUNCTIONS)]
    after += [statement for (statement,) in connection.execute(_TRIGGERS)]
    left_out = [found for (found,) in connection.execute(_OTHERS)]
    return StoreSchema(before=before, after=[*keys, *indexes, *references, *after], left_out=left_out)


def _without_schema(statement: str, schema: str) -> str:
    """Removes the schema from ``CREATE OR REPLACE FUNCTION public.f()``: only there the catalog always names it."""
    head, _, rest = statement.partition("(")
    return head.replace(f" {schema}.", " ", 1).replace(f" {_name(schema)}.", " ", 1) + "(" + rest


def _read_sequence(connection: psycopg.Connection[Any], name: str) -> tuple[int, str]:
    query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(name))
    last, is_called = connection.execute(query).fetchone() or (1, False)
    return last, "true" if is_called else "false"


def _to_column(name: str, kind: str, not_null: bool, default: str | None, identity: str, generated: str) -> str:
    parts = [_name(name), kind]
    if generated:
        parts.append(f"GENERATED ALWAYS AS ({default}) STORED")
    elif identity:
        parts.append(f"GENERATED {'ALWAYS' if identity == 'a' else 'BY DEFAULT'} AS IDENTITY")
    elif default is not None:
        parts.append(f"DEFAULT {default}")
    if not_null:
        parts.append("NOT NULL")
    return " ".join(parts)


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
