"""The notes beside a run's curves: what is partial, left out, thinned, of unequal length or not finite."""

from typing import Any, Final, Literal

import msgspec

from serving.view.charts import Charts, without_doubles
from serving.view.stored import as_list, section
from serving.view.values import to_progress
from switchyard.core.runs.rows import QuickTest, RunStatus

_MARKS_SAID: Final = 6
_NAMES_SAID: Final = 20


class Note(msgspec.Struct, frozen=True):
    """Something that a reader must know about the charts; it is a warning if they might mislead."""

    kind: Literal["info", "warning"]
    title: str
    text: str


def status_notes(run: QuickTest, history: dict[str, Any], charts: Charts) -> list[Note]:
    """Returns notes on a history that is not of a completed run, and on how its epochs were chosen."""
    notes = []
    upto = f"The last published is epoch {charts.epochs[-1]}." if charts.epochs else "No epoch is published."
    if not run.status.ended:
        progress = to_progress(history)
        upto = f"{progress.said} are trained. {upto}" if progress is not None else upto
        text = f"{upto} Nothing here is final. This page refreshes by itself."
        notes.append(Note("warning", "Partial: the run is still training", text))
    elif run.status is not RunStatus.COMPLETED:
        notes.append(Note("warning", f"Partial: the run ended {run.status}", upto))
    elif history.get("status", "completed") != "completed":
        notes.append(Note("warning", f"Partial: the training reported “{history['status']}”", upto))
    sampling = section(history, "sampling")
    if {"interval", "kept", "total"} <= sampling.keys() and sampling["kept"] != sampling["total"]:
        chosen = f"every {_ordinal(sampling['interval'])}, and the last"
        chosen += "; also the first and the extremes of each loss" if sampling.get("keep_extremes") else ""
        text = f"{sampling['kept']} of {sampling['total']} epochs: {chosen}."
        text += " Histograms have all of them." if charts.histograms else ""
        notes.append(Note("info", "Sampled curves", text))
    return notes


def curve_notes(history: dict[str, Any], charts: Charts) -> list[Note]:
    """Returns notes on curves and values that are missing, left out or thinned."""
    notes = []
    if charts.empty:
        text = "The run logged no value at more than one step: its values and parameters are below."
        notes.append(Note("info", "This run has no curves", text))
    cut = section(section(history, "sampling"), "cut")
    if cut.get("left_out"):
        text = f"{cut['left_out']} of this run's series are not drawn, because there are too many: {_to_names(cut)}"
        notes.append(Note("warning", "Series left out", text))
    for name, what in (("final_metrics", "final metrics"), ("params", "parameters"), ("tags", "tags")):
        found = section(cut, name)
        if found.get("left_out"):
            text = f"{found['left_out']} of this run's {what} are too long, and not shown: {_to_names(found)}"
            notes.append(Note("warning", f"{what.capitalize()} left out", text))
    if cut.get("by_max_points"):
        text = f"{cut['by_max_points']} of the curves have more points than are drawn; their extremes are kept."
        notes.append(Note("info", "Thinned curves", text))
    return notes


def _to_names(cut: dict[str, Any]) -> str:
    names = [str(name) for name in as_list(cut.get("names"))]
    return ", ".join(names[:_NAMES_SAID]) + (", ..." if len(names) > _NAMES_SAID else ".")


def warning_notes(history: dict[str, Any]) -> list[Note]:
    """Returns a note on anything unusual in the source of the curves."""
    said = [str(text) for text in as_list(history.get("warnings"))]
    return [Note("info", "Noticed when this run was read", "; ".join(said) + ".")] if said else []


def legacy_notes(history: dict[str, Any], ragged: list[str]) -> list[Note]:
    """Returns notes on a legacy history, and on series that are shorter or longer than their axis."""
    notes = []
    if "schema_version" not in history:
        text = "It is shown as stored: nothing says how its epochs were chosen, and no digest proves it."
        notes.append(Note("info", "Cached by the legacy application", text))
    if ragged:
        notes.append(
            Note("warning", "Series of unequal length", "; ".join(ragged) + ". Drawn from the first epoch on.")
        )
    return notes


def mark_notes(charts: Charts, sampling: dict[str, Any]) -> list[Note]:
    """Returns a note on points that are not finite, and how many more are in epochs that are not shown."""
    marks = without_doubles(
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
        said.append(f"{at_steps} at steps of series with their own axis")
    parts = ["; ".join(said) + ". Crosses mark them on the charts."] if said else []
    if dropped:
        parts.append(f"In epochs that sampling left out: {dropped} (publish with keep_extremes to see where).")
    return [Note("warning", "Values that are not finite", " ".join(parts))] if parts else []


def _ordinal(number: Any) -> str:
    text = str(number)
    endings = {"1": "st", "2": "nd", "3": "rd"}
    return text + ("th" if text[-2:-1] == "1" else endings.get(text[-1:], "th"))
