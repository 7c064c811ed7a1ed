"""The charts that a page has before its scripts have run: losses and norms, else the first of the other series."""

from typing import Final

import msgspec
from markupsafe import Markup

from serving.svg import SvgLine, draw_lines
from serving.view.charts import Charts, Panel

_LOSS_STYLES: Final = {"train": "first", "val": "second"}
_NORM_STYLES: Final = {"total": "third", "query": "first", "candidate": "second dashed"}
_STYLES: Final = ("first", "second", "third")


class First(msgspec.Struct, frozen=True):
    """The SVG of each chart; empty if it has no curve."""

    loss: Markup = Markup("")
    norms: Markup = Markup("")
    other: Markup = Markup("")


def draw_first(charts: Charts) -> First:
    """Draws the losses and norms; `other` if there are neither."""
    made: dict[str, Markup] = {}
    for name, title, panel, styles in (
        ("loss", "Loss by epoch", charts.loss, _LOSS_STYLES),
        ("norms", "Weight norms by epoch", charts.norms, _NORM_STYLES),
    ):
        if lines := _to_lines(panel, charts.epochs, styles):
            made[name] = draw_lines(lines, title=title, axis="epoch")
    if not made and charts.others:
        chart = charts.others[0]
        lines = [
            SvgLine(line.label, [float(step) for step in line.steps or charts.epochs], line.values, style)
            for line, style in zip(chart.lines, _STYLES, strict=False)
        ]
        made["other"] = draw_lines(lines, title=f"{chart.title} by {chart.axis}", axis=chart.axis)
    return First(**made)


def _to_lines(panel: Panel, epochs: list[int], styles: dict[str, str]) -> list[SvgLine]:
    return [
        SvgLine(panel.labels[key], epochs, panel.curves[key], style)
        for key, style in styles.items()
        if key in panel.curves
    ]
