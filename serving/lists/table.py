"""The table of the list of runs as the template reads it: columns, and rows of cells, in groups."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from markupsafe import Markup

from serving.lists.asked import Asked
from serving.lists.columns import (
    CREATED,
    CURVE,
    DEFAULT,
    DIFFERING,
    DURATION,
    EXPERIMENT,
    METRIC,
    Column,
    find_baselines,
    list_fields,
    to_value_column,
)
from serving.lists.found import Found, Question
from serving.lists.metric import choose_metric, list_metrics, to_metric
from serving.svg import draw_sparkline, to_short
from serving.view.values import say_duration
from switchyard.core.comparison.fields import Field
from switchyard.core.comparison.found import FoundRun
from switchyard.core.comparison.outline import Drawn, Outline
from switchyard.core.history.best import find_direction

_MOST_DIFFERING: Final = 3
_SPARK_POINTS: Final = 48
_ERROR_CHARACTERS: Final = 120
_METRICS_OFFERED: Final = 200
NAME: Final = Column(key="name", label="Run", field=Field("", "name"))
STATUS: Final = Column(key="status", label="Status", field=Field("", "status"))


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One value; `label` is its column's, which a card on a phone shows beside it."""

    label: str
    text: str = ""
    title: str = ""
    small: str = ""
    small_title: str = ""
    best: bool = False
    numeric: bool = False
    picture: Markup = Markup("")
    moment: datetime | None = None
    href: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    run: FoundRun
    name: str
    error: str
    notes: str
    checked: bool
    cells: list[Cell]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that belong together; without a title where nothing is grouped."""

    title: str = ""
    href: str = ""
    rows: list[Row] = []


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the template reads of the runs."""

    columns: list[Column]
    groups: list[Group]
    metric: str
    metrics: list[str]  # what else could be chosen
    differing: list[str]  # the params that differ, those without a column too
    shown_differing: int
    elsewhere: list[int]  # selected runs that are not on this page


def to_table(question: Question, found: Found) -> Table:
    """Returns the table of the page's runs."""
    asked = question.asked
    names = list_metrics(run.values for run in found.runs)
    metric = asked.metric or choose_metric(names)
    differing = list_differing(found.runs)
    columns = _to_columns(question, found, metric, differing[:_MOST_DIFFERING])
    best = {column.key: _find_best(column, found.runs) for column in columns if column.field}
    rows = [_to_row(run, columns, best, asked, found) for run in found.runs]
    here = {run.id for run in found.runs}
    return Table(
        columns=columns,
        groups=_to_groups(rows, asked, found.drawn),
        metric=metric,
        metrics=sorted(set(names))[:_METRICS_OFFERED],
        differing=differing,
        shown_differing=_MOST_DIFFERING,
        elsewhere=[id_ for id_ in asked.selected if id_ not in here],
    )


def list_differing(runs: Sequence[FoundRun]) -> list[str]:
    """Lists the params that are not the same in all runs with any, as fields; those that most runs have come first."""
    params = [
        found
        for run in runs
        if (found := {key: value for key, value in run.values.items() if key.startswith("params.")})
    ]
    names = {key for found in params for key in found if any(one.get(key) is not None for one in params)}
    rows = {key: [one.get(key) for one in params] for key in names}
    differ = {key: row for key, row in rows.items() if len(set(row)) > 1}
    return sorted(differ, key=lambda key: (sum(value is None for value in differ[key]), key))


def _to_columns(question: Question, found: Found, metric: str, differing: Sequence[str]) -> list[Column]:
    columns: list[Column] = []
    for key in question.columns or DEFAULT:
        if key == METRIC:
            columns.append(
                msgspec.structs.replace(to_value_column(to_metric(metric)), baseline=_baseline(metric, found))
            )
        elif key == DIFFERING:
            columns += [_to_text_or_number(field, found.runs) for field in list_fields(differing)]
        elif key == EXPERIMENT:
            columns.append(Column(key=key, label="experiment", field=Field("", EXPERIMENT)))
        elif key == DURATION:
            columns.append(Column(key=key, label="duration", field=Field("", DURATION), numeric=True))
        elif key == CREATED:
            columns.append(Column(key=key, label="created", field=Field("", CREATED)))
        elif key == CURVE:
            columns.append(Column(key=key, label="curve", title="The validation loss, or what the run has instead"))
        else:
            columns.append(_to_text_or_number(list_fields([key])[0], found.runs))
    unique = {column.key: column for column in columns}
    if question.columns:
        return list(unique.values())
    # Of its own choice: what no run of the page has, as in a table of an application's own, would be an empty column.
    return [column for column in unique.values() if any(_has(run, column, found) for run in found.runs)]


def _to_text_or_number(field: Field, runs: Sequence[FoundRun]) -> Column:
    """Returns a column of texts if any run has a text, else one of numbers."""
    return to_value_column(field, numeric=not any(isinstance(run.values.get(str(field)), str) for run in runs))


def _has(run: FoundRun, column: Column, found: Found) -> bool:
    match column.key:
        case "experiment":
            return bool(run.experiment)
        case "duration_s":
            return run.duration_s is not None
        case "created_at":
            return run.created_at is not None
        case "curve":
            return run.id in found.drawn and found.drawn[run.id].curve is not None
    return run.values.get(column.key) is not None


def _baseline(metric: str, found: Found) -> Field | None:
    fields = map(to_metric, find_baselines(metric))
    return next((field for field in fields if any(run.values.get(str(field)) for run in found.runs)), None)


def _find_best(column: Column, runs: Sequence[FoundRun]) -> float | None:
    """Finds the best number of the page; None if neither direction is better, or there are no two different numbers."""
    if column.field is None or column.field.section not in ("metrics", "best"):
        return None
    numbers = [value for run in runs if isinstance(value := run.values.get(column.key), float)]
    direction = find_direction(column.field.name)
    if direction is None or len(set(numbers)) < 2:
        return None
    return min(numbers) if direction == "min" else max(numbers)


def _to_row(
    run: FoundRun, columns: Sequence[Column], best: Mapping[str, float | None], asked: Asked, found: Found
) -> Row:
    outline = found.outlines.get(run.id, Outline())
    return Row(
        run=run,
        name=run.display_name or f"Run {run.id}",
        error=run.error[:_ERROR_CHARACTERS] + ("…" if len(run.error) > _ERROR_CHARACTERS else ""),
        notes=outline.notes,
        checked=run.id in asked.selected,
        cells=[
            _to_cell(run, column, best.get(column.key), asked, found.drawn.get(run.id, Drawn())) for column in columns
        ],
    )


def _to_cell(run: FoundRun, column: Column, best: float | None, asked: Asked, drawn: Drawn) -> Cell:
    label = column.label
    match column.key:
        case "experiment":
            href = asked.to_first(experiment=run.experiment) if run.experiment else ""
            return Cell(label=label, text=run.experiment, title=run.experiment, href=href)
        case "duration_s":
            return Cell(label=label, text=say_duration(run.duration_s), numeric=True)
        case "created_at":
            return Cell(label=label, moment=run.created_at)
        case "curve":
            return Cell(label=label, picture=_draw(drawn), title=drawn.curve.name if drawn.curve else "")
    value = run.values.get(column.key)
    if value is None:
        return Cell(label=label, numeric=column.numeric)
    if isinstance(value, str):
        return Cell(label=label, text=value, title=value, numeric=column.numeric)
    small = small_title = ""
    base = run.values.get(str(column.baseline)) if column.baseline else None
    if isinstance(base, float) and base > 0:
        small, small_title = f"{value / base:.2f}\N{MULTIPLICATION SIGN}", f"{to_short(base)} is {column.baseline}"
    return Cell(
        label=label,
        text=to_short(value),
        title=str(value),
        small=small,
        small_title=small_title,
        best=best is not None and value == best,
        numeric=column.numeric,
    )


def _draw(drawn: Drawn) -> Markup:
    if drawn.curve is None:
        return Markup("")
    values = drawn.curve.values
    there = [value for value in values if value is not None]
    step = -(-len(values) // _SPARK_POINTS)
    # From the end, so that the last one is there.
    thin = values[::-1][::step][::-1]
    if sum(value is not None for value in thin) < 2:
        thin = list(there[:: -(-len(there) // _SPARK_POINTS)])
    label = f"{drawn.curve.name[:100]}, {len(values)} points, from {to_short(there[0])} to {to_short(there[-1])}"
    return draw_sparkline(thin, label=label)


def _to_groups(rows: Sequence[Row], asked: Asked, drawn: Mapping[int, Drawn]) -> list[Group]:
    """Returns the rows by group, in the order of the groups' first rows."""
    if not asked.group:
        return [Group(rows=list(rows))]
    found: dict[Any, Group] = {}
    for row in rows:
        key, title, href = _to_group(row.run, asked, drawn.get(row.run.id, Drawn()))
        found.setdefault(key, Group(title=title, href=href, rows=[])).rows.append(row)
    return list(found.values())


def _to_group(run: FoundRun, asked: Asked, drawn: Drawn) -> tuple[Any, str, str]:
    if asked.group == "experiment":
        if not run.experiment:
            return "", "No experiment", ""
        return run.experiment, run.experiment, asked.to_first(experiment=run.experiment, group="")
    if not drawn.parent:
        return "", "No parent", ""
    if drawn.parent_id is None:
        return drawn.parent, f"Children of MLflow run {drawn.parent}", ""
    return drawn.parent, f"Children of run {drawn.parent_id}", f"/quick-tests/{drawn.parent_id}"
