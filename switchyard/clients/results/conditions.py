"""Makes a filter's tree conditions of SQL; every constant is bound, never written into the text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    collate,
    false,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    type_coerce,
)

from switchyard.clients.results.column_types import UtcDateTime, to_storable
from switchyard.clients.results.tables import Tables
from switchyard.core.comparison.fields import Field
from switchyard.core.comparison.filter import And, Compare, Constant, Expression, Not, Or
from switchyard.core.comparison.found import list_fields
from switchyard.core.comparison.like import find_end, find_prefix, to_glob, to_sql_like

Sql = ColumnElement[Any]
Condition = ColumnElement[bool]

INDEXED_CHARACTERS: Final = 250
"""The beginning of a name and an experiment, as migration 0004 indexes them."""
_DURATION: Final[Mapping[str, str]] = {
    "sqlite": "round((julianday(quick_tests.completed_at) - julianday(quick_tests.started_at)) * 86400, 3)",
    "postgresql": "(CAST(round(CAST(extract(epoch FROM (quick_tests.completed_at - quick_tests.started_at)) AS numeric)"
    ", 3) AS double precision))",
}
"""The duration, as migration 0004 indexes it."""
_COMPARISONS: Final[Mapping[str, Callable[[Sql, Any], Condition]]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
}


@dataclass(frozen=True)
class Conditions:
    """The conditions of one database: how it compares texts, and what its table of runs has.

    No one else writes in our own table of runs, so a run's values belong to its history (`is_fresh`). To look at every
    history that a filter meets would take longer than all the rest.
    """

    tables: Tables
    dialect: str
    kinds: Mapping[Field, tuple[str, ...]] = field(default_factory=dict)
    """For some fields the kinds that any run has; for the others all that they may have."""

    def by_bytes(self, text: Sql) -> Sql:
        """Returns the text, compared byte by byte: SQLite always does that."""
        return text if self.dialect == "sqlite" else collate(text, "C")

    def kinds_of(self, field: Field) -> tuple[str, ...]:
        """Returns the kinds of values that are looked for; a run's first one counts."""
        return self.kinds.get(field, field.kinds)

    def column(self, field: Field) -> Sql:
        """Returns what a field of the run itself is found and ordered by; of a long name its beginning."""
        runs = self.tables.runs
        if field.name in ("name", "experiment"):
            column = runs.c["display_name" if field.name == "name" else "mlflow_experiment_name"]
            first = func.substr(column, literal_column("1"), literal_column(str(INDEXED_CHARACTERS)))
            return self.by_bytes(first)
        if field.name == "duration_s":
            return literal_column(_DURATION[self.dialect], type_=self.tables.values.c.number.type)
        column = runs.c[field.name]
        return self.by_bytes(func.coalesce(column, "")) if field.name == "status" else column

    def value(self, field: Field, *, text: bool = False, of: Sql | None = None) -> Sql:
        """Returns a run's number, or text, of that field; NULL: it has none. Of two of one name the greater counts.

        The run is that of the query's row, or of the id `of`."""
        id_ = self.tables.runs.c.id if of is None else of
        found = [self._of_kind(kind, field.name, id_, text=text) for kind in self.kinds_of(field)]
        return found[0] if len(found) == 1 else func.coalesce(*found)

    def value_now(self, field: Field, *, text: bool = False) -> Sql:
        """Returns the same, but NULL if the run's values are not of its present history."""
        found = self.value(field, text=text)
        return found if self.tables.own else case((self.is_fresh(), found))

    def _of_kind(self, kind: str, name: str, id_: Sql, *, text: bool) -> Sql:
        values = self.tables.values.alias()
        shown = self.by_bytes(values.c.text) if text else values.c.number
        query = select(func.max(shown)).where(values.c.quick_test_id == id_, self.is_named(values, (kind,), name))
        return query.correlate_except(values).scalar_subquery()

    def is_named(self, values: Any, kinds: Sequence[str], name: str) -> Condition:
        """Selects rows of values of that name."""
        of_kind = values.c.kind == kinds[0] if len(kinds) == 1 else values.c.kind.in_(kinds)
        return and_(of_kind, self.by_bytes(values.c.name) == to_storable(name))

    def compare(self, column: Sql, term: Compare) -> Condition:
        """Compares `column`, a number, text or time, with the term's constants; NULL if it is NULL."""
        constants = [to_bound(constant) for constant in term.constants]
        match term.operator:
            case "IN":
                return column.in_(constants)
            case "NOT IN":
                return column.not_in(constants)
            case "LIKE":
                return self.like(column, str(term.constants[0]))
            case "NOT LIKE":
                return not_(self._is_like(column, str(term.constants[0])))
            case operator:
                return _COMPARISONS[operator](column, constants[0])

    def like(self, column: Sql, pattern: str) -> Condition:
        """Adds the range of texts that begin as the pattern does: an index can be asked for that."""
        pattern = to_storable(pattern)
        prefix = find_prefix(pattern)[:INDEXED_CHARACTERS]
        end = find_end(prefix) if prefix else None
        bounds = ([column >= literal(prefix)] if prefix else []) + ([column < literal(end)] if end else [])
        return and_(*bounds, self._is_like(column, pattern))

    def _is_like(self, column: Sql, pattern: str) -> Condition:
        pattern = to_storable(pattern)
        if self.dialect == "sqlite":
            return column.op("GLOB", is_comparison=True, return_type=Boolean())(to_glob(pattern))
        return column.like(to_sql_like(pattern), escape="\\")

    def compare_run(self, term: Compare) -> Condition:
        """Compares a column of the run by the term: its indexed beginning, and the whole of it."""
        if term.field.name not in ("name", "experiment"):
            return self.compare(self.column(term.field), term)
        whole = self.tables.runs.c["display_name" if term.field.name == "name" else "mlflow_experiment_name"]
        # Hidden from SQLite, which would put the constant into the expression that the index is over, and not use it.
        hidden = func.coalesce(whole, literal_column("''")) if self.dialect == "sqlite" else self.by_bytes(whole)
        return and_(*self._begin(term), self.compare(hidden, term))

    def _begin(self, term: Compare) -> list[Condition]:
        """Returns what an index says of a name or an experiment: its beginning.

        It holds for at least all runs for which the term holds."""
        indexed = self.column(term.field)
        if term.operator in ("=", "IN"):
            return [indexed.in_([to_storable(str(one))[:INDEXED_CHARACTERS] for one in term.constants])]
        if term.operator == "LIKE":
            prefix = find_prefix(to_storable(str(term.constants[0])))[:INDEXED_CHARACTERS]
            end = find_end(prefix) if prefix else None
            return ([indexed >= prefix] if prefix else []) + ([indexed < end] if end else [])
        return []

    def holds(self, expression: Expression, *, values: bool = True) -> Condition:
        """Returns True or false of a run, never NULL. Without `values`: as for a run that has none."""
        match expression:
            case Compare(field=named):
                if not named.section:
                    return func.coalesce(self.compare_run(expression), false(), type_=Boolean())
                if not values:
                    return false()
                found = self.compare(self.value(named, text=expression.is_text), expression)
                return func.coalesce(found, false(), type_=Boolean())
            case Not():
                return not_(self.holds(expression.term, values=values))
            case And() | Or():
                joined = and_ if isinstance(expression, And) else or_
                return joined(*map(partial(self.holds, values=values), expression.terms))

    def holds_now(self, expression: Expression) -> Condition:
        """Returns the same, with values only if they are of the run's present history; that is looked at last."""
        trusted = self.holds(expression)
        if self.tables.own or not any(field.section for field in list_fields(expression)):
            return trusted
        bare = self.holds(expression, values=False)
        if isinstance(bare, type(false())):
            return type_coerce(case((trusted, self.is_fresh()), else_=false()), Boolean())
        without = case((bare, not_(self.is_fresh())), else_=false())
        return type_coerce(
            case((trusted, case((bare, literal(True)), else_=self.is_fresh())), else_=without), Boolean()
        )

    def is_fresh(self) -> Condition:
        """Returns True if the run's values are of its present history. The whole text is looked at.

        Another application may have written over that history, or deleted it."""
        tables = self.tables
        runs, published, values = tables.runs, tables.published, tables.values.alias()
        of_run = published.c.quick_test_id == runs.c.id
        etag, charted = (
            select(column).where(of_run).correlate(runs).scalar_subquery()
            for column in (published.c.etag, published.c.charted_digest)
        )
        text = tables.history_text
        find = func.instr if self.dialect == "sqlite" else func.strpos
        now = case(
            (not_(tables.has_history), null()),
            (find(text, func.coalesce(charted, " not published ")) > 0, etag),
            else_=self._hash(text),
        )
        of_values = select(values.c.history_etag).where(values.c.quick_test_id == runs.c.id).limit(1)
        return func.coalesce(of_values.correlate(runs).scalar_subquery() == now, false(), type_=Boolean())

    def _hash(self, text: Sql) -> Sql:
        if self.dialect == "sqlite":
            return literal("sha256:").concat(func.sha256_hex(text))
        return literal("sha256:").concat(func.encode(func.sha256(func.convert_to(text, "UTF8")), "hex"))

    def is_among(self, column: Sql) -> Condition:
        """Returns True if `column` is one of the ids that are bound as ``ids`` (`to_ids`), of any number."""
        if self.dialect == "sqlite":
            listed = func.json_each(bindparam("ids")).table_valued("value")
            return column.in_(select(listed.c.value))
        return column == func.any(bindparam("ids"))

    def to_ids(self, ids: Sequence[int]) -> Any:
        """Returns the ids as they are bound."""
        return str(list(ids)) if self.dialect == "sqlite" else list(ids)

    def select_kinds(self, fields: Sequence[Field]) -> Select[Any]:
        """Selects one row: whether any run has a value of each field's kinds, one after the other."""
        values = self.tables.values
        asked = [(named, kind) for named in fields for kind in named.kinds]
        return select(
            *(
                select(literal(1))
                .where(self.is_named(values, (kind,), named.name), values.c.number.is_not(None))
                .limit(1)
                .scalar_subquery()
                for named, kind in asked
            )
        )

    def select_ids(self, term: Compare, *, limit: int) -> Select[Any] | None:
        """Selects by an index at most `limit` ids of at least all runs for which the term holds.

        None: no index has them together."""
        if term.operator in ("!=", "NOT IN", "NOT LIKE"):
            return None
        if term.operator == "LIKE" and not find_prefix(str(term.constants[0])):
            return None
        runs, values = self.tables.runs, self.tables.values
        if not term.field.section:
            if not self.tables.own and term.field.name != "id":
                return None
            column = runs.c.status if term.field.name == "status" else self.column(term.field)
            begins = self._begin(term) if term.field.name in ("name", "experiment") else []
            found = and_(*begins) if begins else self.compare(column, term)
            return self._by_index(select(runs.c.id.label("id")).where(found), column, runs.c.id).limit(limit)
        shown = self.by_bytes(values.c.text) if term.is_text else values.c.number
        named = self.is_named(values, self.kinds_of(term.field), term.field.name)
        there = (values.c.text if term.is_text else values.c.number).is_not(None)
        found = and_(named, there, self.compare(shown, term))
        query = select(values.c.quick_test_id.label("id")).where(found)
        return self._by_index(query, values.c.kind, self.by_bytes(values.c.name), shown).limit(limit)

    def _by_index(self, query: Select[Any], *columns: Sql) -> Select[Any]:
        """Makes Postgres take the index by the order: it expects too many rows, and would read the whole table."""
        return query if self.dialect == "sqlite" else query.order_by(*columns)


def to_bound(constant: Constant) -> Any:
    """Returns it as it is bound. A whole number is a large one: else SQLAlchemy calls it INTEGER, like the column."""
    match constant:
        case str():
            return to_storable(constant)
        case int():
            return literal(constant, BigInteger())
        case datetime():
            return literal(constant, UtcDateTime())
        case _:
            return constant
