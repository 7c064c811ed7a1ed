"""What is asked of the list of runs, and one line of its answer."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from switchyard.core.comparison.fields import COLUMNS, FOREIGN_COLUMNS, OPERATORS, SECTIONS, Field, Section
from switchyard.core.comparison.filter import And, Compare, Expression, Not, Or
from switchyard.core.comparison.order import Key, Order
from switchyard.core.errors import BadRequest

Archived = Literal["no", "only", "any"]

ALL_NAMES: Final = "*"
"""The name of a field that means every value of its section."""


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs, in which order, with which of their values."""

    limit: int
    filter: Expression | None = None
    order: Order = Order()
    experiment: str | None = None  # exactly this one
    fields: tuple[Field, ...] = ()
    archived: Archived = "no"
    before_id: int | None = None  # only runs with a smaller id
    after: Key | None = None  # the place in `order` that the page begins after


class FoundRun(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list. On a table that is not ours all but id, status and values keep their defaults."""

    id: int
    status: str = ""
    display_name: str = ""
    available: bool = False  # a history is published
    error: str = ""
    created_at: datetime | None = None
    completed_at: datetime | None = None
    started_at: datetime | None = None
    experiment: str = ""
    duration_s: float | None = None  # None: it has not started, or not ended
    archived_at: datetime | None = None
    mlflow_deleted_at: datetime | None = None  # since when its MLflow run is known to be deleted there
    values: Mapping[str, float | str | None] = {}  # by field, as asked; None: the run has no such value


def with_deleted(runs: Sequence[FoundRun], deleted: Mapping[int, datetime]) -> list[FoundRun]:
    """Returns the lines; `deleted` says of which runs the MLflow run is gone, and since when."""
    return [
        msgspec.structs.replace(run, mlflow_deleted_at=deleted[run.id]) if run.id in deleted else run for run in runs
    ]


class RunPage(msgspec.Struct, frozen=True):
    """The lines, and the place that the next page begins after; None: this is the last one."""

    runs: Sequence[FoundRun]
    following: Key | None


class KnownField(msgspec.Struct, frozen=True):
    """A field that some run has; `type` says what it is compared with."""

    name: str  # as a filter has it
    type: Literal["number", "text", "number or text", "whole number", "time"]


def list_columns(prefix: str, *, own: bool) -> list[KnownField]:
    """Returns the columns of a run that begin so, and that its table has."""
    return [
        KnownField(name, next(iter(OPERATORS[name])))
        for name in COLUMNS
        if name.startswith(prefix.lower()) and (own or name in FOREIGN_COLUMNS)
    ]


def choose_sections(prefix: str) -> list[tuple[Section, str]]:
    """Returns the sections that have fields which begin with `prefix`, and how their names begin.

    Without a dot it may be the beginning of the section, or of a name in any.

    >>> choose_sections("metrics.test"), choose_sections("par")[:2]
    ([('metrics', 'test')], [('metrics', 'par'), ('best', 'par')])
    >>> choose_sections("par")[2]
    ('params', '')
    """
    section, dot, name = prefix.partition(".")
    if dot and section.lower() in SECTIONS:
        # An odd name is written in backticks, and may be on its way to be.
        name = name.removeprefix("`").removesuffix("`").replace("``", "`")
        return [(known, name) for known in SECTIONS if known == section.lower()]
    return [(known, "" if known.startswith(prefix.lower()) else prefix) for known in SECTIONS]


def list_fields(expression: Expression | None) -> list[Field]:
    """Returns every field that a filter compares."""
    match expression:
        case Compare():
            return [expression.field]
        case Not():
            return list_fields(expression.term)
        case And() | Or():
            return [field for term in expression.terms for field in list_fields(term)]
        case None:
            return []


def check_columns(query: RunQuery, *, table: str) -> None:
    """Refuses columns that `table`, an application's own, does not have.

    Raises: BadRequest: there is one.
    """
    asked = [field.name for field in (*list_fields(query.filter), query.order.field) if not field.section]
    asked += ["experiment"] if query.experiment is not None else []
    missing = sorted({name for name in asked if name not in FOREIGN_COLUMNS})
    if missing:
        raise BadRequest(
            f"{', '.join(missing)}: {table} (RESULTS_TABLE) has no such column that Switchyard knows. Its runs are "
            f"found by {', '.join(FOREIGN_COLUMNS)} and by their metrics, best, params and tags"
        )
    if query.archived != "no":
        raise BadRequest(f"archived: runs of {table} (RESULTS_TABLE) cannot be archived by Switchyard; leave it out")


def check_shown(fields: Sequence[Field]) -> None:
    """Refuses fields that are columns, which every line has.

    Raises: BadRequest: there is one.
    """
    columns = [field.name for field in fields if not field.section]
    if columns:
        raise BadRequest(f"`fields` names values: metrics, best, params, tags; {', '.join(columns)} is always there")


assert set(FOREIGN_COLUMNS) < set(COLUMNS)
