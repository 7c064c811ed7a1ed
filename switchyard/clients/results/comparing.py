"""Reads what a comparison of a few runs needs: a query of their rows, and one of their values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Select, select

from switchyard.clients.results.conditions import Conditions
from switchyard.clients.results.engine import Database
from switchyard.clients.results.showing import to_found
from switchyard.clients.results.tables import is_history, to_history_etag
from switchyard.core.comparison.compared import ComparedRun
from switchyard.core.comparison.found import FoundRun
from switchyard.core.history.publication import Value

_KINDS: Final = ("final", "last", "best")
"""The kinds of values that are read. Params and tags are in the history, at their full length."""


@dataclass(frozen=True)
class ComparedQueries:
    """The two queries, made once: putting them together takes as long as running them."""

    conditions: Conditions
    rows: Select[Any]
    values: Select[Any]


def make_queries(database: Database) -> ComparedQueries:
    """Makes the queries for a database."""
    tables = database.tables
    runs, published, values = tables.runs, tables.published, tables.values
    conditions = Conditions(tables, database.reader.dialect.name)
    columns: list[ColumnElement[Any]] = [runs.c[name] for name in FoundRun.__struct_fields__ if name in runs.c]
    if tables.own:
        columns.append(runs.c.mlflow_experiment_name.label("experiment"))
    rows = (
        select(tables.history_text.label("history_text"), published.c.charted_digest, published.c.etag, *columns)
        .select_from(runs.outerjoin(published, published.c.quick_test_id == runs.c.id))
        .where(conditions.is_among(runs.c.id))
    )
    shown = select(values.c.quick_test_id, values.c.history_etag, values.c.kind, values.c.name, values.c.number)
    of_runs = conditions.is_among(values.c.quick_test_id), values.c.kind.in_(_KINDS), values.c.number.is_not(None)
    return ComparedQueries(conditions, rows, shown.where(*of_runs))


def read_compared(database: Database, queries: ComparedQueries, quick_test_ids: Sequence[int]) -> list[ComparedRun]:
    """Reads as `core.ports.Histories.read_compared` says."""
    if not quick_test_ids:
        return []
    ids = queries.conditions.to_ids(quick_test_ids)
    rows = database.rows(queries.rows, ids=ids)
    by_run: dict[int, tuple[str, list[Value]]] = {}
    for id_, etag, kind, name, number in cast("Sequence[Any]", database.rows(queries.values, ids=ids)):
        # All values of a run have the same etag: they are written together.
        by_run.setdefault(id_, (etag, []))[1].append(Value(kind=kind, name=name, number=number))
    compared = []
    for row in rows:
        text = row.history_text if is_history(row.history_text) else None
        etag, found = by_run.get(row.id, ("", []))
        fresh = text is not None and to_history_etag(text, row.charted_digest, row.etag) == etag
        run = to_found(row, available=text is not None)
        compared.append(ComparedRun(run=run, history_json=text, values=found if fresh else None))
    return compared
