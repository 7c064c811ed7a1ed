"""The curves of a stored history: every series on its own axis, and the points that a curve cannot show."""

import math
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any, Final, Literal

import msgspec

from serving.view.groups import in_order, split_name, to_groups
from serving.view.stored import as_list, finite, read_stored, section
from switchyard.core.metrics.record import PUBLISHED_LOSS

_LOSS_LABELS: Final = {
    "train": "training",
    "val": "validation",
    "total": "training + regularisation",
    "val_total": "validation + regularisation",
    "regularization": "regularisation",
    "val_regularization": "regularisation (validation)",
}
_NORM_LABELS: Final = {"total": "both towers", "query": "query tower", "candidate": "candidate tower"}
KIND_LABELS: Final = {"nan": "NaN", "inf": "+∞", "-inf": "-∞"}


class Mark(msgspec.Struct, frozen=True):
    """One point that a curve cannot show."""

    epoch: int
    label: str


class Panel(msgspec.Struct, frozen=True):
    """One chart: its curves, with one value per epoch of the page, and the points that are not finite."""

    curves: dict[str, list[float | None]]
    labels: dict[str, str]
    marks: list[Mark]


class Line(msgspec.Struct, frozen=True):
    """One curve of a small chart; without its own steps it has one value per epoch of the page."""

    label: str
    values: list[float | None]
    steps: list[int | str] | None = None  # text if too large for JavaScript to count exactly
    best: tuple[int | str, float] | None = None  # the epoch or step, and the value


class SmallChart(msgspec.Struct, frozen=True):
    """A chart of another series than losses and norms, and of the same series on other parts of the data."""

    title: str
    axis: Literal["epoch", "step"]
    group: str
    lines: list[Line]
    marks: list[Mark]


class Charts(msgspec.Struct, frozen=True):
    """What the page's script draws; epochs are as they are stored, because an MLflow run may count from 1."""

    epochs: list[int]
    loss: Panel
    norms: Panel
    histograms: bool
    others: list[SmallChart] = []
    best: dict[str, tuple[int | str, float]] = {}  # of the losses, by the names of the full series

    @property
    def empty(self) -> bool:
        """True if the run logged no curve."""
        return not (self.loss.curves or self.norms.curves or self.others or self.histograms)


def to_charts(stored: bytes | None) -> Charts | None:
    """Returns only the charts; None if nothing readable is published."""
    try:
        history = read_stored(stored)
    except ValueError:
        return None
    return None if history is None else draw_charts(history)[0]


def draw_charts(history: dict[str, Any]) -> tuple[Charts, list[str]]:
    """Returns the charts, and the series that do not have one value per epoch."""
    loss, norms = section(history, "loss"), section(history, "gradient")
    series = [values for part in (loss, norms) for values in part.values() if isinstance(values, list)]
    epochs = [epoch for epoch in as_list(history.get("epochs")) if isinstance(epoch, int)]
    if not epochs:
        epochs = list(range(max((len(values) for values in series), default=0)))
    ragged: list[str] = []
    non_finite = section(history, "non_finite")
    panels = []
    for name, part, labels in (("loss", loss, _LOSS_LABELS), ("gradient", norms, _NORM_LABELS)):
        known = {key: part[key] for key in [*labels, *part] if key in part}
        curves, marks = {}, []
        for key, values in known.items():
            values = as_list(values)
            if values and len(values) != len(epochs):
                ragged.append(f"{name}.{key} has {len(values)} values for {len(epochs)} epochs")
            if values:
                curves[key] = [finite(value) for _, value in zip_longest(epochs, values[: len(epochs)])]
                marks += _own_marks(labels.get(key, key), epochs, values)
        marks += _recorded_marks(section(non_finite, name), labels)
        panels.append(Panel(curves, {key: labels.get(key, key) for key in curves}, without_doubles(marks)))
    others, more = _to_others(history, epochs)
    histograms = bool(history.get("histogram_available"))
    found = {name: _to_best_point(section(history, "best").get(name)) for name in PUBLISHED_LOSS.values()}
    best = {name: point for name, point in found.items() if point is not None}
    return Charts(epochs, panels[0], panels[1], histograms, others, best), ragged + more


def _to_others(history: dict[str, Any], epochs: list[int]) -> tuple[list[SmallChart], list[str]]:
    """Returns a chart for each other series, by group and in the history's order, and the series of unequal length."""
    best, kinds = section(history, "best"), section(history, "non_finite")
    groups = to_groups(split_name(name) for part in ("metrics", "series") for name in section(history, part))
    charts: dict[tuple[str, str], SmallChart] = {}
    ragged: list[str] = []

    def add(axis: Literal["epoch", "step"], name: str, line: Line, marks: list[Mark]) -> None:
        title = split_name(name)
        chart = charts.setdefault((axis, title), SmallChart(title, axis, groups[title], [], []))
        chart.lines.append(line)
        chart.marks.extend(marks)

    for name, values in section(history, "metrics").items():
        values = as_list(values)
        if len(values) != len(epochs):
            ragged.append(f"metrics.{name} has {len(values)} values for {len(epochs)} epochs")
        curve = [finite(value) for _, value in zip_longest(epochs, values[: len(epochs)])]
        marks = _recorded_marks({name: section(section(kinds, "metrics"), name)}, {})
        add("epoch", name, Line(name, curve, best=_to_best_point(best.get(name))), marks)
    for name, entry in section(history, "series").items():
        entry = entry if isinstance(entry, dict) else {}
        steps = [step for step in as_list(entry.get("steps")) if isinstance(step, int | str)]
        values = [finite(value) for value in as_list(entry.get("values"))]
        marks = [
            Mark(int(steps[int(at)]), f"{name} is {KIND_LABELS[kind]}")
            for at, kind in section(section(kinds, "series"), name).items()
            if at.isdecimal() and int(at) < len(steps) and kind in KIND_LABELS
        ]
        add("step", name, Line(name, values[: len(steps)], steps, _to_best_point(best.get(name))), marks)
    order = in_order(chart.group for chart in charts.values())
    ordered = sorted(charts.values(), key=lambda chart: order[chart.group])
    return [msgspec.structs.replace(chart, marks=without_doubles(chart.marks)) for chart in ordered], ragged


def _to_best_point(best: Any) -> tuple[int | str, float] | None:
    if not isinstance(best, dict) or finite(best.get("value")) is None:
        return None
    at = best.get("epoch", best.get("step"))
    return (at, best["value"]) if isinstance(at, int | str) else None


def _own_marks(label: str, epochs: list[int], values: list[Any]) -> list[Mark]:
    """Returns marks for bare NaN and Infinity tokens among the values, as in legacy payloads."""
    return [
        Mark(epoch, f"{label} is {KIND_LABELS[str(value)]}")
        for epoch, value in zip(epochs, values, strict=False)
        if isinstance(value, float) and not math.isfinite(value)
    ]


def _recorded_marks(recorded: dict[str, Any], labels: dict[str, str]) -> list[Mark]:
    """Returns marks for what `non_finite` records, also for epochs that sampling left out."""
    marks = []
    for series, kinds in recorded.items():
        for epoch, kind in kinds.items() if isinstance(kinds, dict) else ():
            if str(epoch).isdecimal() and kind in KIND_LABELS:
                marks.append(Mark(int(epoch), f"{labels.get(series, series)} is {KIND_LABELS[kind]}"))
    return marks


def without_doubles(marks: Iterable[Mark]) -> list[Mark]:
    """Returns the marks by epoch, each once."""
    return sorted(dict.fromkeys(marks), key=lambda mark: (mark.epoch, mark.label))
