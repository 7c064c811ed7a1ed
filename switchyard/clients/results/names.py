"""Lists the names of values that there are: from one to the next by an index, past the millions of values between."""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, literal, select
from sqlalchemy import exists as sql_exists

from switchyard.clients.results.column_types import to_storable
from switchyard.clients.results.conditions import Conditions
from switchyard.clients.results.engine import Database
from switchyard.core.comparison.fields import KINDS, Field, Section
from switchyard.core.comparison.found import KnownField, choose_sections, list_columns
from switchyard.core.comparison.like import find_end


def list_fields(database: Database, prefix: str, *, limit: int) -> list[KnownField]:
    """Lists as `core.ports.Runs.list_fields` says, with one query for each section, or two."""
    conditions = Conditions(database.tables, database.reader.dialect.name)
    found = list_columns(prefix, own=database.tables.own)
    for section, start in choose_sections(prefix):
        missing = limit - len(found)
        if missing > 0:
            found += _list_section(database, conditions, section, to_storable(start), missing)
    return found[:limit]


def _list_section(
    database: Database, conditions: Conditions, section: Section, start: str, limit: int
) -> list[KnownField]:
    is_text = section in ("params", "tags")
    types: dict[str, Any] = {}
    for kind in KINDS[section]:
        for row in database.rows(_select_names(conditions, kind, start, is_text=is_text).limit(limit)):
            types[row.name] = ("number or text" if row.has_number else "text") if is_text else "number"
    return [KnownField(str(Field(section, name)), types[name]) for name in sorted(types, key=_to_bytes)[:limit]]


def _select_names(conditions: Conditions, kind: str, start: str, *, is_text: bool) -> Select[Any]:
    """Makes a loose index scan: each step asks for the least name after the one before.

    Source: https://wiki.postgresql.org/wiki/Loose_indexscan
    """
    values = conditions.tables.values
    there = (values.c.text if is_text else values.c.number).is_not(None)
    name = conditions.by_bytes(values.c.name)

    def least(after: ColumnElement[bool]) -> Select[Any]:
        end = find_end(start) if start else None
        bounds = [name < literal(end)] if end else []
        return select(func.min(name).label("name")).where(values.c.kind == kind, there, after, *bounds)

    names = least(name >= literal(start)).cte("names", recursive=True)
    following = least(name > conditions.by_bytes(names.c.name)).correlate(names).scalar_subquery()
    names = names.union_all(select(following).where(names.c.name.is_not(None)))
    number = sql_exists().where(
        and_(values.c.kind == kind, name == conditions.by_bytes(names.c.name), values.c.number.is_not(None))
    )
    return select(names.c.name, number.label("has_number")).where(names.c.name.is_not(None))


def _to_bytes(name: str) -> bytes:
    return name.encode("utf-8", "replace")
