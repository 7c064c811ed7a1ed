"""What a run's page shows, made from its row and its stored history, whoever wrote that: series of equal length without
NaN, where the non-finite points are, tables, and what must be said beside them."""

import json
import math
import re
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any, Final, Literal

import msgspec

from switchyard.core.runs.machine_use import to_machine_use
from switchyard.core.runs.rows import QuickTest, RunStatus

_LOSS_LABELS: Final = {
    "train": "training",
    "val": "validation",
    "total": "training + regularisation",
    "val_total": "validation + regularisation",
    "regularization": "regularisation",
    "val_regularization": "regularisation (validation)",
}
_NORM_LABELS: Final = {"total": "both towers", "query": "query tower", "candidate": "candidate tower"}
_KIND_LABELS: Final = {"nan": "NaN", "inf": "+∞", "-inf": "-∞"}
_MARKS_SAID: Final = 6
_NAMES_SAID: Final = 20
_RECALL: Final = re.compile(r"(?:test_)?(popularity_)?recall_at_(\d+)")


class Mark(msgspec.Struct, frozen=True):
    """One point that no curve can show."""

    epoch: int
    label: str


class Panel(msgspec.Struct, frozen=True):
    """One chart: its curves, each as long as the page's epochs, and the points that are not finite."""

    curves: dict[str, list[float | None]]
    labels: dict[str, str]
    marks: list[Mark]


class Line(msgspec.Struct, frozen=True):
    """One curve of a small chart; without steps of its own it has a value an epoch of the page's."""

    label: str
    values: list[float | None]
    steps: list[int | str] | None = None  # text: beyond what JavaScript counts exactly
    best: tuple[int | str, float] | None = None  # at which epoch or step


class SmallChart(msgspec.Struct, frozen=True):
    """A series beside the losses and norms, its validation's with it where there is one."""

    title: str
    axis: Literal["epoch", "step"]
    lines: list[Line]
    marks: list[Mark]


class Best(msgspec.Struct, frozen=True):
    """The best value of a series whose name says which way is better."""

    name: str
    value: float | None
    at: str  # "epoch 17"
    direction: str  # lowest | highest


class Progress(msgspec.Struct, frozen=True):
    """How far a run is that trains; `epochs` None: nobody knows how many were asked for."""

    done: int
    epochs: int | None

    @property
    def said(self) -> str:
        """``12 of 50 epochs``."""
        return f"{self.done} of {self.epochs} epochs" if self.epochs else f"{self.done} epochs"


class Charts(msgspec.Struct, frozen=True):
    """What the page's script draws; epochs as they are stored: a run of MLflow may count from 1."""

    epochs: list[int]
    loss: Panel
    norms: Panel
    histograms: bool
    others: list[SmallChart] = []

    @property
    def empty(self) -> bool:
        """True of a run that logged no curve."""
        return not (self.loss.curves or self.norms.curves or self.others or self.histograms)


class Note(msgspec.Struct, frozen=True):
    """Something that a reader must know of the charts; a warning where they might mislead."""

    kind: Literal["info", "warning"]
    title: str
    text: str


class Recall(msgspec.Struct, frozen=True):
    """Test recall at k beside what always answering the most popular products would reach; None: not measured."""

    k: int
    model: float | None
    popularity: float | None

    @property
    def times(self) -> float | None:
        """The model's recall as a multiple of popularity's."""
        return self.model / self.popularity if self.model is not None and self.popularity else None


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the template reads."""

    run: QuickTest
    charts: Charts | None = None  # None: nothing published, or nothing readable
    progress: Progress | None = None  # None: it has ended, or does not say
    best: list[Best] = []
    notes: list[Note] = []
    recalls: list[Recall] = []
    metrics: dict[str, Any] = {}
    params: dict[str, Any] = {}
    facts: dict[str, str] = {}

    @property
    def title(self) -> str:
        """The run's name, or its id where it has none."""
        return self.run.display_name or f"Quick test {self.run.id}"

    @property
    def live(self) -> bool:
        """True while the page should ask for news."""
        return not self.run.status.ended


def to_view(run: QuickTest, stored: bytes | None) -> RunView:
    """The page of `run`; `stored` is its history as the API sends it. Never raises for what is in it."""
    try:
        history = _read(stored)
    except ValueError as err:
        text = f"It is not what it should be ({err}). Publish the run again: switchyard ingest."
        return RunView(
            run=run, notes=[Note("warning", "The stored history cannot be read", text)], params=run.parameters
        )
    if history is None:
        return RunView(run=run, params=run.parameters)
    charts, ragged = _to_charts(history)
    final_metrics = _section(history, "final_metrics")
    said = {**final_metrics, **_kinds_by_name(_section(_section(history, "non_finite"), "final_metrics"))}
    recalls = _to_recalls(final_metrics)
    return RunView(
        run=run,
        charts=charts,
        progress=None if run.status.ended else _to_progress(history),
        best=_to_best(history),
        notes=[
            *_status_notes(run, history, charts),
            *_curve_notes(history, charts),
            *_legacy_notes(history, ragged),
            *_mark_notes(charts, _section(history, "sampling")),
            *_warning_notes(history),
        ],
        recalls=recalls,
        metrics={name: value for name, value in said.items() if not (recalls and _RECALL.fullmatch(name))},
        params=_section(history, "params") or run.parameters,
        facts=_to_facts(history, run),
    )


def to_charts(stored: bytes | None) -> Charts | None:
    """The charts alone; None where nothing (readable) is published."""
    try:
        history = _read(stored)
    except ValueError:
        return None
    return None if history is None else _to_charts(history)[0]


def _read(stored: bytes | None) -> dict[str, Any] | None:
    """The history, None where nothing is published. Raises: ValueError: what is stored is no history."""
    if stored is None:
        return None
    try:
        # The standard library's reader, for it takes the bare NaN and Infinity tokens of legacy payloads.
        history = json.loads(stored)
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    if not isinstance(history, dict):
        raise ValueError(f"an object was expected, got {type(history).__name__}")  # noqa: TRY004  (one error for both)
    return history if history.get("available") is True else None


def _to_charts(history: dict[str, Any]) -> tuple[Charts, list[str]]:
    """The charts, and which series did not have one value an epoch."""
    loss, norms = _section(history, "loss"), _section(history, "gradient")
    series = [values for section in (loss, norms) for values in section.values() if isinstance(values, list)]
    epochs = [epoch for epoch in _list(history.get("epochs")) if isinstance(epoch, int)]
    if not epochs:
        epochs = list(range(max((len(values) for values in series), default=0)))
    ragged: list[str] = []
    non_finite = _section(history, "non_finite")
    panels = []
    for name, section, labels in (("loss", loss, _LOSS_LABELS), ("gradient", norms, _NORM_LABELS)):
        known = {key: section[key] for key in [*labels, *section] if key in section}
        curves, marks = {}, []
        for key, values in known.items():
            values = _list(values)
            if values and len(values) != len(epochs):
                ragged.append(f"{name}.{key} has {len(values)} values for {len(epochs)} epochs")
            if values:
                curves[key] = [_finite(value) for _, value in zip_longest(epochs, values[: len(epochs)])]
                marks += _own_marks(labels.get(key, key), epochs, values)
        marks += _recorded_marks(_section(non_finite, name), labels)
        panels.append(Panel(curves, {key: labels.get(key, key) for key in curves}, _without_doubles(marks)))
    others, more = _to_others(history, epochs)
    histograms = bool(history.get("histogram_available"))
    return Charts(epochs, panels[0], panels[1], histograms, others), ragged + more


def _to_others(history: dict[str, Any], epochs: list[int]) -> tuple[list[SmallChart], list[str]]:
    """A chart for each other series, in the history's order, and which of them did not have one value an epoch."""
    best, kinds = _section(history, "best"), _section(history, "non_finite")
    charts: dict[tuple[str, str], SmallChart] = {}
    ragged: list[str] = []

    def add(axis: Literal["epoch", "step"], name: str, line: Line, marks: list[Mark]) -> None:
        # A series and its validation's are read together.
        title = name.removeprefix("val_") or name
        chart = charts.setdefault((axis, title), SmallChart(title, axis, [], []))
        chart.lines.append(line)
        chart.marks.extend(marks)

    for name, values in _section(history, "metrics").items():
        values = _list(values)
        if len(values) != len(epochs):
            ragged.append(f"metrics.{name} has {len(values)} values for {len(epochs)} epochs")
        curve = [_finite(value) for _, value in zip_longest(epochs, values[: len(epochs)])]
        marks = _recorded_marks({name: _section(_section(kinds, "metrics"), name)}, {})
        add("epoch", name, Line(name, curve, best=_to_best_point(best.get(name))), marks)
    for name, entry in _section(history, "series").items():
        entry = entry if isinstance(entry, dict) else {}
        steps = [step for step in _list(entry.get("steps")) if isinstance(step, int | str)]
        values = [_finite(value) for value in _list(entry.get("values"))]
        marks = [
            Mark(int(steps[int(at)]), f"{name} is {_KIND_LABELS[kind]}")
            for at, kind in _section(_section(kinds, "series"), name).items()
            if at.isdecimal() and int(at) < len(steps) and kind in _KIND_LABELS
        ]
        add("step", name, Line(name, values[: len(steps)], steps, _to_best_point(best.get(name))), marks)
    return [msgspec.structs.replace(chart, marks=_without_doubles(chart.marks)) for chart in charts.values()], ragged


def _to_best_point(best: Any) -> tuple[int | str, float] | None:
    if not isinstance(best, dict) or _finite(best.get("value")) is None:
        return None
    at = best.get("epoch", best.get("step"))
    return (at, best["value"]) if isinstance(at, int | str) else None


def _to_best(history: dict[str, Any]) -> list[Best]:
    """By name, as the history has them."""
    words = {"min": "lowest", "max": "highest"}
    return [
        Best(
            name,
            _finite(best.get("value")),
            f"epoch {best['epoch']}" if "epoch" in best else f"step {best.get('step', '?')}",
            words.get(str(best.get("direction")), ""),
        )
        for name, best in _section(history, "best").items()
        if isinstance(best, dict)
    ]


def _to_progress(history: dict[str, Any]) -> Progress | None:
    progress = _section(history, "progress")
    done, epochs = progress.get("epochs_done"), progress.get("epochs")
    return Progress(done, epochs if isinstance(epochs, int) else None) if isinstance(done, int) else None


def _own_marks(label: str, epochs: list[int], values: list[Any]) -> list[Mark]:
    """Bare NaN and Infinity tokens among the values, as legacy payloads have them."""
    return [
        Mark(epoch, f"{label} is {_KIND_LABELS[str(value)]}")
        for epoch, value in zip(epochs, values, strict=False)
        if isinstance(value, float) and not math.isfinite(value)
    ]


def _recorded_marks(section: dict[str, Any], labels: dict[str, str]) -> list[Mark]:
    """What `non_finite` records, also of epochs that sampling left out."""
    marks = []
    for series, kinds in section.items():
        for epoch, kind in kinds.items() if isinstance(kinds, dict) else ():
            if str(epoch).isdecimal() and kind in _KIND_LABELS:
                marks.append(Mark(int(epoch), f"{labels.get(series, series)} is {_KIND_LABELS[kind]}"))
    return marks


def _without_doubles(marks: Iterable[Mark]) -> list[Mark]:
    return sorted(dict.fromkeys(marks), key=lambda mark: (mark.epoch, mark.label))


def _status_notes(run: QuickTest, history: dict[str, Any], charts: Charts) -> list[Note]:
    """A mark on whatever is not the history of a completed run, and how its epochs were chosen."""
    notes = []
    upto = f"The last published is epoch {charts.epochs[-1]}." if charts.epochs else "No epoch is published."
    if not run.status.ended:
        progress = _to_progress(history)
        upto = f"{progress.said} are trained. {upto}" if progress is not None else upto
        text = f"{upto} Nothing here is final. This page refreshes by itself."
        notes.append(Note("warning", "Partial: the run is still training", text))
    elif run.status is not RunStatus.COMPLETED:
        notes.append(Note("warning", f"Partial: the run ended {run.status}", upto))
    elif history.get("status", "completed") != "completed":
        notes.append(Note("warning", f"Partial: the training reported “{history['status']}”", upto))
    sampling = _section(history, "sampling")
    if {"interval", "kept", "total"} <= sampling.keys() and sampling["kept"] != sampling["total"]:
        chosen = f"every {_ordinal(sampling['interval'])}, and the last"
        chosen += "; also the first and the extremes of each loss" if sampling.get("keep_extremes") else ""
        text = f"{sampling['kept']} of {sampling['total']} epochs: {chosen}. Histograms have all of them."
        notes.append(Note("info", "Sampled curves", text))
    return notes


def _curve_notes(history: dict[str, Any], charts: Charts) -> list[Note]:
    """That there are no curves, or which are not here."""
    notes = []
    if charts.empty:
        text = "The run logged no value at more than one step: its values and parameters are below."
        notes.append(Note("info", "This run has no curves", text))
    cut = _section(_section(history, "sampling"), "cut")
    if cut.get("left_out"):
        names = [str(name) for name in _list(cut.get("names"))]
        said = ", ".join(names[:_NAMES_SAID]) + (", ..." if len(names) > _NAMES_SAID else ".")
        text = f"{cut['left_out']} of this run's series are not drawn, for there are too many: {said}"
        notes.append(Note("warning", "Series left out", text))
    if cut.get("by_max_points"):
        text = f"{cut['by_max_points']} of the curves have more points than are drawn; their extremes are kept."
        notes.append(Note("info", "Thinned curves", text))
    return notes


def _warning_notes(history: dict[str, Any]) -> list[Note]:
    """What was odd about the source of the curves."""
    said = [str(text) for text in _list(history.get("warnings"))]
    return [Note("info", "Noticed when this run was read", "; ".join(said) + ".")] if said else []


def _legacy_notes(history: dict[str, Any], ragged: list[str]) -> list[Note]:
    notes = []
    if "schema_version" not in history:
        text = "It is shown as stored: nothing says how its epochs were chosen, and no digest proves it."
        notes.append(Note("info", "Cached by the legacy application", text))
    if ragged:
        notes.append(
            Note("warning", "Series of unequal length", "; ".join(ragged) + ". Drawn from the first epoch on.")
        )
    return notes


def _mark_notes(charts: Charts, sampling: dict[str, Any]) -> list[Note]:
    marks = _without_doubles(
        [
            *charts.loss.marks,
            *charts.norms.marks,
            *(mark for chart in charts.others if chart.axis == "epoch" for mark in chart.marks),
        ]
    )
    at_steps = sum(len(chart.marks) for chart in charts.others if chart.axis == "step")
    dropped = sampling.get("non_finite_dropped") or 0
    said = [f"epoch {mark.epoch}: {mark.label}" for mark in marks[:_MARKS_SAID]]
    if len(marks) > _MARKS_SAID:
        said.append(f"and {len(marks) - _MARKS_SAID} more")
    if at_steps:
        said.append(f"{at_steps} at steps of series of their own")
    parts = ["; ".join(said) + ". Crosses mark them on the charts."] if said else []
    if dropped:
        parts.append(f"In epochs that sampling left out: {dropped} (publish with keep_extremes to see where).")
    return [Note("warning", "Values that are not finite", " ".join(parts))] if parts else []


def _kinds_by_name(section: dict[str, Any]) -> dict[str, str]:
    """Final metrics that are not finite, by name: they are null among the values."""
    return {
        name: _KIND_LABELS.get(str(next(iter(kinds.values()), "")), "?") for name, kinds in section.items() if kinds
    }


def _to_recalls(final_metrics: dict[str, Any]) -> list[Recall]:
    """One line a k, ascending; empty where no model's recall was measured."""
    found: dict[int, dict[bool, float | None]] = {}
    for name, value in final_metrics.items():
        if match := _RECALL.fullmatch(name):
            found.setdefault(int(match[2]), {})[bool(match[1])] = _finite(value)
    lines = [Recall(k, both.get(False), both.get(True)) for k, both in sorted(found.items())]
    return lines if any(line.model is not None for line in lines) else []


def _to_facts(history: dict[str, Any], run: QuickTest) -> dict[str, str]:
    """Where the history came from, and what its training used."""
    facts = {
        "source": {"file": "training_metrics.json", "mlflow": "MLflow"}.get(str(history.get("source")), "legacy cache"),
        "MLflow run": str(history.get("mlflow_run_id") or ""),
        "published": str(history.get("cached_at") or ""),
        "digest": str(_section(history, "digest").get("charted") or ""),
        "machines": str(to_machine_use(run) or ""),
    }
    return {name: value for name, value in facts.items() if value}


def _section(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _finite(value: Any) -> float | None:
    """A number that a chart can draw; None for anything else (integers beyond float64 included)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _ordinal(number: Any) -> str:
    text = str(number)
    endings = {"1": "st", "2": "nd", "3": "rd"}
    return text + ("th" if text[-2:-1] == "1" else endings.get(text[-1:], "th"))
