"""A scatter of the compared runs: a parameter on one axis, a metric on the other; a shape and an id for each run."""

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import msgspec
from markupsafe import Markup

from serving.compare.axes import HEIGHT, WIDTH, Axis, Plane
from serving.compare.heads import COLORS, RunHead
from serving.lists.metric import choose_metric, to_name
from serving.svg import to_short
from switchyard.core.comparison.compared import Comparison
from switchyard.core.comparison.fields import Field
from switchyard.core.history.values import to_number

_OFFERED: Final = 300


class Scatter(msgspec.Struct, frozen=True, kw_only=True):
    """The picture, what it shows, and what else could be chosen."""

    x: str
    y: str
    xs: list[str]
    ys: list[str]
    log_x: bool
    log_y: bool
    drawn: Markup
    left_out: list[int]  # ids of runs that lack one of the two, or cannot stand on a logarithmic axis


def to_scatter(
    found: Comparison, heads: Sequence[RunHead], x: str, y: str, *, log_x: bool, log_y: bool
) -> Scatter | None:
    """Returns the scatter; None if no parameter is a number that differs, or the runs have no values.

    An axis that is not among the choices gives way to the usual one.

    What is not among the choices gives way to the usual one.
    """
    axes = {str(Field("params", one.name)): [_number(value) for value in one.values] for one in found.params.differ}
    axes = {name: row for name, row in axes.items() if len({value for value in row if value is not None}) > 1}
    values = {value.field: value.values for value in found.values}
    if not axes or not values:
        return None
    xs = sorted(axes, key=lambda name: (sum(value is None for value in axes[name]), name))
    metric = str(Field("metrics", choose_metric(to_name(name) for name in values if name.startswith("metrics."))))
    x = x if x in axes else _usual_x(xs)
    y = y if y in values else metric if metric in values else next(iter(values))
    points = [
        (head, at, value)
        for head, at, value in zip(heads, axes[x], values[y], strict=True)
        if at is not None and value is not None and not (log_x and at <= 0) and not (log_y and value <= 0)
    ]
    there = {head.id for head, _, _ in points}
    return Scatter(
        x=x,
        y=y,
        xs=_offer(xs, x),
        ys=_offer(list(values), y),
        log_x=log_x,
        log_y=log_y,
        drawn=_draw(points, x, y, log_x=log_x, log_y=log_y),
        left_out=[head.id for head in heads if head.id not in there],
    )


def _usual_x(names: Sequence[str]) -> str:
    """Chooses a learning rate if one differs, because it is searched for most. A seed says nothing."""
    rates = [name for name in names if "learning_rate" in name or name.endswith(".lr")]
    return (rates or [name for name in names if "seed" not in name] or list(names))[0]


def _offer(names: list[str], chosen: str) -> list[str]:
    some = names[:_OFFERED]
    return some if chosen in some else [chosen, *some]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    return to_number(str(value)) if isinstance(value, int | float | str) else None


def _draw(points: Sequence[tuple[RunHead, float, float]], x: str, y: str, *, log_x: bool, log_y: bool) -> Markup:
    plane = Plane(
        Axis.around([at for _, at, _ in points], log=log_x), Axis.around([value for _, _, value in points], log=log_y)
    )
    title = f"{to_name(y)[:100]} by {to_name(x)[:100]} of {len(points)} runs"
    parts = [
        f'<svg class="drawn scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        plane.draw(axis=to_name(x)[:80]),
    ]
    for head, at, value in points:
        left, top = plane.place(at, value)
        said = f"{head.name[:120]} ({head.id}): {to_name(x)[:60]} {to_short(at)}, {to_name(y)[:60]} {to_short(value)}"
        parts.append(
            f'<g class="point run-{head.place % COLORS}" data-run="{head.id}"><title>{escape(said)}</title>'
            f'{_shape(head.place // COLORS, left, top)}<text x="{left + 9:.1f}" y="{top + 4:.1f}">{head.id}</text></g>'
        )
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  (numbers, and texts that are escaped above)


def _shape(which: int, left: float, top: float) -> str:
    """Draws a circle, a square or a triangle: colours come again after eight runs."""
    if which == 0:
        return f'<circle cx="{left:.1f}" cy="{top:.1f}" r="5.5"/>'
    if which == 1:
        return f'<rect x="{left - 5:.1f}" y="{top - 5:.1f}" width="10" height="10"/>'
    return f'<path d="M{left:.1f} {top - 6.5:.1f}l6.5 12h-13z"/>'
