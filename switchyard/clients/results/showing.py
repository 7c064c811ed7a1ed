"""Makes the lines of found runs: their columns, and those of their values that were asked for."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, Select, literal, or_, select

from switchyard.clients.results.conditions import Conditions
from switchyard.clients.results.engine import Database
from switchyard.clients.results.fetching import fetch_each
from switchyard.clients.results.rows import to_unread_summary
from switchyard.core.comparison.fields import KINDS, Field, Section
from switchyard.core.comparison.found import ALL_NAMES, FoundRun
from switchyard.core.errors import BadRequest

MAX_SHOWN_VALUES: Final = 20_000
"""The values of all runs of a page together."""
_SECTIONS: Final[Mapping[str, Section]] = {kind: section for section, kinds in KINDS.items() for kind in kinds}


def show_runs(database: Database, ids: Sequence[int], fields: Sequence[Field]) -> list[FoundRun]:
    """Returns the lines, in the order of `ids`; a run that was deleted meanwhile has none."""
    if not ids:
        return []
    tables, runs = database.tables, database.tables.runs
    conditions = Conditions(tables, database.reader.dialect.name)
    names = [name for name in FoundRun.__struct_fields__ if name in runs.c]
    columns: list[ColumnElement[Any]] = [runs.c[name] for name in names]
    if tables.own:
        columns.append(runs.c.mlflow_experiment_name.label("experiment"))
    fresh = conditions.is_fresh() if fields else literal(False)
    query = select(*columns, tables.has_history.label("available"), fresh.label("is_fresh")).where(runs.c.id.in_(ids))
    rows = fetch_each(database, query, runs.c.id, lambda row: row, _to_unread)
    found = {row.id: row for row in rows}
    values = _read_values(
        database, conditions, [row.id for row in rows if isinstance(row, Row) and row.is_fresh], fields
    )
    return [_to_line(found[id_], fields, values.get(id_, {})) for id_ in ids if id_ in found]


def _read_values(
    database: Database, conditions: Conditions, ids: Sequence[int], fields: Sequence[Field]
) -> dict[int, dict[Field, float | str]]:
    if not ids or not fields:
        return {}
    values = database.tables.values
    wanted = or_(
        *(
            values.c.kind.in_(field.kinds)
            if field.name == ALL_NAMES
            else conditions.is_named(values, field.kinds, field.name)
            for field in fields
        )
    )
    query: Select[Any] = select(
        values.c.quick_test_id, values.c.kind, values.c.name, values.c.number, values.c.text
    ).where(values.c.quick_test_id.in_(ids), wanted)
    rows = database.rows(query.limit(MAX_SHOWN_VALUES + 1))
    if len(rows) > MAX_SHOWN_VALUES:
        raise BadRequest(
            f"`fields`: the runs of this page have more than {MAX_SHOWN_VALUES} such values; name those to show, "
            "or ask for fewer runs: limit=20"
        )
    return _to_values(rows)


def _to_values(rows: Sequence[Row[Any]]) -> dict[int, dict[Field, float | str]]:
    """Returns them by run and field; of two kinds the section's first, of two numbers the greater: the last stays."""
    found: dict[int, dict[Field, float | str]] = {}
    order = [kind for kinds in KINDS.values() for kind in kinds]
    for row in sorted(rows, key=lambda row: (-order.index(row.kind), row.number or 0.0, row.text or "")):
        value = row.number if row.number is not None else row.text
        found.setdefault(row.quick_test_id, {})[Field(_SECTIONS[row.kind], row.name)] = value
    return found


def to_found(row: Row[Any], *, available: bool, values: Mapping[str, float | str | None] | None = None) -> FoundRun:
    """Makes a found run of a row with its columns."""
    known = dict(zip(row._fields, row, strict=True))
    given = {name: known[name] for name in FoundRun.__struct_fields__ if known.get(name) is not None}
    started, completed = known.get("started_at"), known.get("completed_at")
    duration = round((completed - started).total_seconds(), 3) if started and completed else None
    return FoundRun(**{**given, "available": available, "duration_s": duration, "values": values or {}})


def _to_line(row: Any, fields: Sequence[Field], values: Mapping[Field, float | str]) -> FoundRun:
    if isinstance(row, FoundRun):
        return row
    shown: dict[str, float | str | None] = {}
    for field in fields:
        if field.name == ALL_NAMES:
            mine = [other for other in values if other.section == field.section]
            shown |= {str(other): values[other] for other in sorted(mine, key=lambda other: other.name)}
        else:
            shown[str(field)] = values.get(field)
    return to_found(row, available=bool(row.available), values=shown)


def _to_unread(quick_test_id: int, err: Exception) -> Any:
    return FoundRun(**msgspec.structs.asdict(to_unread_summary(quick_test_id, err)))
