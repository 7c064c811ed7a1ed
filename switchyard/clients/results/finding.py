"""Finds, orders and shows runs among many (`core.ports.Runs.find_runs`), on SQLite and Postgres.

The databases know too little of values to choose a way by themselves, so it is chosen here. Where an index has few
enough runs for some term of the filter, these are fetched and ordered. Else the order's own index is walked, and each
run is tried until the page is full.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, literal, select, tuple_

from switchyard.clients.results.column_types import UtcDateTime
from switchyard.clients.results.conditions import Condition, Conditions, to_bound
from switchyard.clients.results.engine import Database
from switchyard.clients.results.showing import show_runs
from switchyard.core.comparison.fields import ID, Field
from switchyard.core.comparison.filter import And, Compare, Expression, Or
from switchyard.core.comparison.found import (
    RunPage,
    RunQuery,
    check_columns,
    check_shown,
    list_fields,
)
from switchyard.core.comparison.order import NOTHING, NUMBER, TEXT, Key, Order, sort_keys, take_after
from switchyard.core.errors import BadRequest

FEW: Final = 2_000
"""Runs that are fetched and ordered at once; tests/bench/finding.py has the figures."""
TRIED: Final = 400
"""Runs at a time for which the filter is checked."""
MAX_PROBES: Final = 12
"""Terms for which the runs are counted, up to `FEW`."""


def find_runs(database: Database, query: RunQuery) -> RunPage:
    """Finds as `core.ports.Runs.find_runs` says."""
    if not database.tables.own:
        check_columns(query, table=database.tables.runs.fullname)
    check_shown(query.fields)
    finder = _Finder(database, _make_conditions(database, query), query)
    keys = finder.find()
    shown = show_runs(database, [key[2] for key in keys[: query.limit]], query.fields)
    return RunPage(runs=shown, following=keys[query.limit - 1] if len(keys) > query.limit else None)


def _make_conditions(database: Database, query: RunQuery) -> Conditions:
    """Makes conditions. A metric may be a final value or a series' last one; mostly all runs have it as one of them."""
    conditions = Conditions(database.tables, database.reader.dialect.name)
    asked = dict.fromkeys([*list_fields(query.filter), query.order.field])
    double = [field for field in asked if len(field.kinds) > 1]
    if not double:
        return conditions
    (row,) = database.rows(conditions.select_kinds(double))
    there = iter(row)
    kinds = {field: tuple(kind for kind in field.kinds if next(there)) or field.kinds[:1] for field in double}
    return replace(conditions, kinds=kinds)


@dataclass(frozen=True)
class _Finder:
    """One query: the keys of its page, and the lines of the runs."""

    database: Database
    conditions: Conditions
    query: RunQuery

    @property
    def _wanted(self) -> Expression | None:
        """Returns the filter, with the experiment that was asked for beside it."""
        query = self.query
        if query.experiment is None:
            return query.filter
        term = Compare(Field("", "experiment"), "=", (query.experiment,))
        return term if query.filter is None else And((term, query.filter))

    def find(self) -> list[Key]:
        """Returns the page's keys in order, and one more if there are more."""
        few = self._find_few()
        keys = self._walk() if few is None else self._order(few)
        return keys[: self.query.limit + 1]

    def _find_few(self) -> list[int] | None:
        """Returns the ids of at least all runs that the filter holds for, if an index has few enough of them."""
        wanted = self._wanted
        terms = list(dict.fromkeys(_list_terms(wanted)))[:MAX_PROBES] if wanted is not None else []
        sources = {term: self.conditions.select_ids(term, limit=FEW + 1) for term in terms}
        indexed = {term: source for term, source in sources.items() if source is not None}
        if not indexed:
            return None
        counts = [select(func.count()).select_from(source.subquery()).scalar_subquery() for source in indexed.values()]
        (row,) = self.database.rows(select(*counts))
        assert wanted is not None
        chosen = _choose(wanted, dict(zip(indexed, row, strict=True)))
        if chosen is None or chosen[0] > FEW:
            return None
        return sorted({row.id for term in chosen[1] for row in self.database.rows(indexed[term])})

    def _order(self, few: Sequence[int]) -> list[Key]:
        """Returns those of `few` that the filter holds for, in order, trying as many at a time as may fill the page."""
        limit, order = self.query.limit, self.query.order
        keys = take_after(sort_keys(self._read_keys(few), order), self.query.after, order)
        found: list[Key] = []
        for at in range(0, len(keys), TRIED):
            some = keys[at : at + TRIED]
            query = select(self._runs.c.id).where(self.conditions.is_among(self._runs.c.id), *self._all())
            ids = self.conditions.to_ids([key[2] for key in some])
            good = {row.id for row in self.database.rows(query, ids=ids)}
            found += [key for key in some if key[2] in good]
            if len(found) > limit:
                break
        return found

    def _read_keys(self, ids: Sequence[int]) -> list[Key]:
        if self.query.order.field == ID:
            return [_to_key(id_, 0.0, None) for id_ in ids]
        if self.database.tables.own and _is_number_of_one_kind(self.conditions, self.query.order):
            return self._read_numbers(ids)
        number, text = self._keys()
        query = select(self._runs.c.id, number.label("number"), text.label("text"))
        query = query.where(self.conditions.is_among(self._runs.c.id))
        rows = self.database.rows(query, ids=self.conditions.to_ids(ids))
        return [_to_key(row.id, row.number, row.text) for row in rows]

    def _read_numbers(self, ids: Sequence[int]) -> list[Key]:
        """Reads numbers from the index of a run's values alone, which has them."""
        conditions, field = self.conditions, self.query.order.field
        values = self.database.tables.values
        id_ = values.c.quick_test_id
        query = select(id_.label("id"), func.max(values.c.number).label("number")).group_by(id_)
        named = conditions.is_named(values, conditions.kinds_of(field), field.name)
        rows = self.database.rows(query.where(conditions.is_among(id_), named), ids=conditions.to_ids(ids))
        numbers = {row.id: row.number for row in rows}
        return [_to_key(one, numbers.get(one), None) for one in ids]

    @property
    def _runs(self) -> Any:
        return self.database.tables.runs

    def _keys(self) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        """Returns what a run is ordered by, as a number and as a text; NULL: it is not that."""
        field = self.query.order.field
        nothing = literal(None)
        if field == ID:
            return literal(0.0), nothing
        if not field.section:
            column = self.conditions.column(field)
            return (column, nothing) if field.name == "duration_s" else (nothing, column)
        number = self.conditions.value_now(field)
        return number, self.conditions.value_now(field, text=True) if TEXT in self.query.order.ranks else nothing

    def _all(self) -> list[Condition]:
        """Returns what a run must be to be listed at all."""
        query, runs = self.query, self._runs
        found: list[Condition] = []
        if query.before_id is not None:
            found.append(runs.c.id < to_bound(query.before_id))
        if self.database.tables.own and query.archived != "any":
            archived = runs.c.archived_at
            found.append(archived.is_(None) if query.archived == "no" else archived.is_not(None))
        wanted = self._wanted
        return found if wanted is None else [*found, self.conditions.holds_now(wanted)]

    def _walk(self) -> list[Key]:
        """Walks part after part of the order, until the page is full."""
        found: list[Key] = []
        order, after = self.query.order, self.query.after
        ranks = order.ranks if after is None else order.ranks[order.ranks.index(after[0]) :]
        for rank in ranks:
            missing = self.query.limit + 1 - len(found)
            if missing > 0:
                start = after if after is not None and after[0] == rank else None
                found += self._walk_part(rank, start, missing)
        return found

    def _walk_part(self, rank: int, after: Key | None, limit: int) -> list[Key]:
        order = self.query.order
        if rank == NOTHING:
            return self._walk_rest(after, limit)
        if not order.field.section:
            return self._walk_columns(after, limit)
        parts = [self._walk_values(kind, rank, after, limit) for kind in self.conditions.kinds_of(order.field)]
        keys = dict.fromkeys(key for part in parts for key in part)
        return sort_keys(list(keys), order)[:limit]

    def _walk_columns(self, after: Key | None, limit: int) -> list[Key]:
        order, runs = self.query.order, self._runs
        if order.field == ID:
            query = select(runs.c.id, literal(0.0).label("number"), literal(None).label("text"))
            start = [] if after is None else [_is_beyond(order.descending, [runs.c.id], [to_bound(after[2])])]
            ordered = [runs.c.id]
        else:
            number, text = self._keys()
            column = number if order.field.name == "duration_s" else text
            query = select(runs.c.id, number.label("number"), text.label("text")).where(column.is_not(None))
            value = None if after is None else _to_bound_key(order.field, after[1])
            start = (
                []
                if after is None
                else [_is_beyond(order.descending, [column, runs.c.id], [value, to_bound(after[2])])]
            )
            ordered = [column, runs.c.id]
        rows = self.database.rows(query.where(*start, *self._all()).order_by(*self._way(ordered)).limit(limit))
        return [_to_key(row.id, row.number, row.text) for row in rows]

    def _walk_values(self, kind: str, rank: int, after: Key | None, limit: int) -> list[Key]:
        """Walks the index of values of one kind and name; each run at the one value that counts."""
        conditions, runs, order = self.conditions, self._runs, self.query.order
        values = self.database.tables.values.alias("walked")
        shown = conditions.by_bytes(values.c.text) if rank == TEXT else values.c.number
        there = (values.c.text if rank == TEXT else values.c.number).is_not(None)
        # By the value's own run, not the joined row's: Postgres would join by that, and compute it for every run.
        id_ = values.c.quick_test_id
        counts = shown == conditions.value(order.field, text=rank == TEXT, of=id_)
        if rank == TEXT:
            counts = and_(counts, conditions.value(order.field, of=id_).is_(None))
        key = [shown, id_]
        start = [] if after is None else [_is_beyond(order.descending, key, [after[1], to_bound(after[2])])]
        query = (
            select(values.c.quick_test_id.label("id"), shown.label("shown"))
            .distinct()  # a run may have the same value twice
            .select_from(values.join(runs, runs.c.id == values.c.quick_test_id))
            .where(conditions.is_named(values, (kind,), order.field.name), there, *start, *self._bounds(shown, rank))
            .where(counts, *self._all(), *([] if self.database.tables.own else [conditions.is_fresh()]))
            .order_by(*self._way(key))
            .limit(limit)
        )
        return [(rank, row.shown, row.id) for row in self.database.rows(query)]

    def _bounds(self, shown: ColumnElement[Any], rank: int) -> list[Condition]:
        """Returns what the filter says of the field that the runs are ordered by: the walk begins and ends there."""
        wanted = self._wanted
        terms = wanted.terms if isinstance(wanted, And) else (wanted,)
        return [
            self.conditions.compare(shown, term)
            for term in terms
            if isinstance(term, Compare) and term.field == self.query.order.field and term.is_text == (rank == TEXT)
        ]

    def _walk_rest(self, after: Key | None, limit: int) -> list[Key]:
        """Walks the runs without the field of the order, the newest first."""
        runs = self._runs
        number, text = self._keys()
        missing = number.is_(None) if TEXT not in self.query.order.ranks else and_(number.is_(None), text.is_(None))
        query = select(runs.c.id).where(missing, *self._all())
        if after is not None:
            query = query.where(runs.c.id < to_bound(after[2]))
        return [(NOTHING, None, row.id) for row in self.database.rows(query.order_by(runs.c.id.desc()).limit(limit))]

    def _way(self, columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
        return [column.desc() if self.query.order.descending else column.asc() for column in columns]


def _to_key(id_: int, number: float | None, text: Any) -> Key:
    if number is not None:
        return NUMBER, float(number), id_
    if isinstance(text, datetime):
        text = text.astimezone(UTC).isoformat(timespec="microseconds")
    return (NOTHING, None, id_) if text is None else (TEXT, text, id_)


def _to_bound_key(field: Field, value: Any) -> Any:
    if field.name != "created_at":
        return value
    try:
        return literal(datetime.fromisoformat(value), UtcDateTime())
    except ValueError as err:
        raise BadRequest("`after` is no place in this list. Take it unchanged from `next` of the page before") from err


def _is_number_of_one_kind(conditions: Conditions, order: Order) -> bool:
    return bool(order.field.section) and TEXT not in order.ranks and len(conditions.kinds_of(order.field)) == 1


def _is_beyond(descending: bool, key: Sequence[ColumnElement[Any]], place: Sequence[Any]) -> Condition:
    left, right = tuple_(*key), tuple_(*place)
    return left < right if descending else left > right


def _list_terms(expression: Expression) -> list[Compare]:
    """Returns the terms by which the runs of the whole filter can be fetched, alone or together."""
    match expression:
        case Compare():
            return [expression]
        case And() | Or():
            return [term for part in expression.terms for term in _list_terms(part)]
        case _:
            return []


def _choose(expression: Expression, counts: Mapping[Compare, int]) -> tuple[int, list[Compare]] | None:
    """Returns the fewest runs that hold those of the filter, and the terms that have them; None: no terms do."""
    match expression:
        case Compare():
            return (counts[expression], [expression]) if expression in counts else None
        case And():
            found = [one for part in expression.terms if (one := _choose(part, counts)) is not None]
            return min(found, key=lambda one: one[0], default=None)
        case Or():
            parts = [_choose(part, counts) for part in expression.terms]
            every = [part for part in parts if part is not None]
            if len(every) < len(parts):
                return None
            return sum(count for count, _ in every), [term for _, terms in every for term in terms]
        case _:
            return None
