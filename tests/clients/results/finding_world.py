"""Runs to be found, and what a filter and an order mean, written once more without a database."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from switchyard.core.comparison.fields import KINDS, Field
from switchyard.core.comparison.filter import And, Compare, Expression, Not, Or
from switchyard.core.comparison.found import FoundRun, RunQuery
from switchyard.core.comparison.order import NOTHING, NUMBER, TEXT, Order
from switchyard.core.history.publication import Value
from tests.clients.results.places import NOW, Place, publication

NUMBERS: Final = (-1.5, 0.0, 0.1, 0.25, 0.25, 3.0, 1e300)
TEXTS: Final = (
    "adam",
    "Adam",
    "ada",
    "sgd_x",
    "sgd%",
    "",
    "0.1",
    "3",
    "é\N{GRINNING FACE}",
    "'; DROP TABLE quick_tests --",
)
_SECTIONS: Final = {kind: section for section, kinds in KINDS.items() for kind in kinds}


@dataclass
class Made:
    """A run as it was made: its columns and its values."""

    id: int
    columns: dict[str, Any]
    values: dict[tuple[str, str], Value] = field(default_factory=dict)

    def find(self, asked: Field, *, text: bool) -> Any:
        """The run's number or text; None: it has none."""
        if not asked.section:
            return self.columns.get(asked.name)
        for kind in asked.kinds:
            value = self.values.get((kind, asked.name))
            found = None if value is None else value.text if text else value.number
            if found is not None:
                return found
        return None


def make_runs(place: Place, count: int, *, seed: int = 1) -> list[Made]:
    """Runs with values by chance; every seventh has nothing published."""
    source = random.Random(seed)
    return [_make_run(place, number, source) for number in range(count)]


def _make_run(place: Place, number: int, source: random.Random) -> Made:
    id_ = place.add_run(f"request {number}", status=source.choice(["completed", "failed", "running"]))
    if number % 7 != 6:
        values = [*_numbers(source), *_texts(source)]
        place.histories.publish(msgspec.structs.replace(publication(id_), values=values), now=NOW)
    else:
        values = []
    (row,) = place.sql(f"SELECT status FROM {place.runs_table} WHERE id = :id", id=id_)
    columns: dict[str, Any] = {"id": id_, "status": row.status}
    if not place.table:
        columns |= _set_columns(place, id_, source)
    return Made(id_, columns, {(value.kind, value.name): value for value in values})


def _numbers(source: random.Random) -> list[Value]:
    names = (("final", "recall"), ("last", "recall"), ("last", "val loss"), ("best", "val loss"))
    return [
        Value(kind=kind, name=name, number=source.choice(NUMBERS))  # type: ignore[arg-type]  # they are kinds
        for kind, name in names
        if source.random() < 0.7
    ]


def _texts(source: random.Random) -> list[Value]:
    found = []
    for kind, name in (("param", "optimizer"), ("param", "`odd` ü"), ("tag", "team")):
        if source.random() < 0.8:
            text = source.choice(TEXTS)
            number = float(text) if text in ("0.1", "3") else None
            found.append(Value(kind=kind, name=name, number=number, text=text))  # type: ignore[arg-type]  # as above
    return found


def _set_columns(place: Place, id_: int, source: random.Random) -> dict[str, Any]:
    created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=source.randrange(4))
    started = created + timedelta(minutes=1) if source.random() < 0.7 else None
    completed = (
        started + timedelta(seconds=source.choice([5.5, 60, 3600])) if started and source.random() < 0.8 else None
    )
    name, experiment = (
        source.choice([*TEXTS, "n" * 300 + "a", "n" * 300 + "b"]),
        source.choice(["", "one", "two%", "e" * 400]),
    )
    with place.ports.database.writing() as connection:
        runs = place.ports.database.tables.runs
        changed = {"display_name": name, "mlflow_experiment_name": experiment, "created_at": created}
        times = {"started_at": started, "completed_at": completed}
        connection.execute(runs.update().where(runs.c.id == id_).values(**changed, **times))
    duration = (completed - started).total_seconds() if started and completed else None
    return {"name": name, "experiment": experiment, "created_at": created, "duration_s": duration}


def holds(expression: Expression | None, run: Made) -> bool:
    """What a filter says of a run: a comparison with what the run has not is false."""
    match expression:
        case None:
            return True
        case Not():
            return not holds(expression.term, run)
        case And():
            return all(holds(term, run) for term in expression.terms)
        case Or():
            return any(holds(term, run) for term in expression.terms)
        case Compare():
            found = run.find(expression.field, text=expression.is_text)
            return found is not None and _compare(found, expression)


def _compare(found: Any, term: Compare) -> bool:
    (first, *_), operator = term.constants, term.operator
    if operator in ("LIKE", "NOT LIKE"):
        return _is_like(found, str(first)) is (operator == "LIKE")
    return bool(
        {
            "=": found == first,
            "!=": found != first,
            "IN": found in term.constants,
            "NOT IN": found not in term.constants,
            "<": not isinstance(first, str) and found < first,
            "<=": not isinstance(first, str) and found <= first,
            ">": not isinstance(first, str) and found > first,
            ">=": not isinstance(first, str) and found >= first,
        }[operator]
    )


def _is_like(text: str, pattern: str) -> bool:
    """By trying all ways, which is short for short texts."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(_is_like(text[at:], pattern[1:]) for at in range(len(text) + 1))
    if pattern[0] == "\\" and pattern[1:2] in ("%", "_", "\\") and len(pattern) > 1:
        return text[:1] == pattern[1] and _is_like(text[1:], pattern[2:])
    return bool(text) and pattern[0] in ("_", text[0]) and _is_like(text[1:], pattern[1:])


def expected_ids(runs: Sequence[Made], query: RunQuery) -> list[int]:
    """The ids of all pages."""
    keyed = [(_to_key(run, query.order), run) for run in runs if holds(query.filter, run)]
    found: list[int] = []
    for rank in query.order.ranks:
        some = [(key[1], run.id) for key, run in keyed if key[0] == rank]
        found += [id_ for _, id_ in sorted(some, reverse=query.order.descending or rank == NOTHING)]
    return found


def _to_key(run: Made, order: Order) -> tuple[int, Any]:
    if order.field.name == "id" and not order.field.section:
        return NUMBER, 0.0
    number: Any = run.find(order.field, text=False)
    text: Any = run.find(order.field, text=True) if order.field.section in ("params", "tags") else None
    if isinstance(number, str):  # of a column; of a name the beginning counts
        number, text = None, number[:250]
    if isinstance(number, datetime):
        number, text = None, number.isoformat(timespec="microseconds")
    if number is not None:
        return NUMBER, number
    return (TEXT, text.encode()) if text is not None else (NOTHING, 0)


def find_all(place: Place, query: RunQuery) -> list[FoundRun]:
    """Page after page."""
    found: list[FoundRun] = []
    while True:
        page = place.runs.find_runs(query)
        assert len(page.runs) <= query.limit
        found += page.runs
        if page.following is None:
            return found
        query = msgspec.structs.replace(query, after=page.following)


def to_shown(run: Made, fields: Sequence[Field]) -> Mapping[str, Any]:
    """The values that a line shows."""
    shown = {}
    for asked in fields:
        number = run.find(asked, text=False)
        shown[str(asked)] = number if number is not None else run.find(asked, text=True)
    return shown
