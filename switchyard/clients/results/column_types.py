"""Defines columns beyond the results database's own types, and conditions of its partial indexes."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Text
from sqlalchemy import text as sql
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out; SQLite, which keeps no zone, stores the UTC time without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses a time without a zone: no one could say later which hour it meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time must have a zone; got {value.isoformat()}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns the stored time as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def to_storable(value: str) -> str:
    """Returns `value` with U+FFFD for what no database takes; nearly always the very same string."""
    if "\0" in value:
        value = value.replace("\0", "\ufffd")
    return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


class StorableText(TypeDecorator[str]):
    """Text in which what no database takes (NUL, lone surrogates, as log lines may hold) became U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Returns the value as it can be stored."""
        return None if value is None else to_storable(value)


def to_condition(condition: str) -> dict[str, Any]:
    """Returns what limits an index to the rows that `condition` names, on both databases."""
    return {"postgresql_where": sql(condition), "sqlite_where": sql(condition)}
