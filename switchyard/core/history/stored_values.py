"""The values that a stored history says by itself, whichever program published it."""

from collections.abc import Mapping
from typing import Any

from switchyard.core.history.publication import Value
from switchyard.core.history.values import to_values
from switchyard.core.metrics.record import PUBLISHED_LOSS


def to_history_values(history: Mapping[str, Any]) -> list[Value]:
    """Returns the final metrics, params, tags, last values and named best values of a stored history.

    Sampling never leaves out the last epoch, so the last value of a series is there. A history of version 1 names no
    best values: the best epoch may have been left out.
    """
    epochs = history.get("epochs")
    points = len(epochs) if isinstance(epochs, list) else 0
    last = {
        PUBLISHED_LOSS.get(name, name) if section == "loss" else name: values[-1]
        for section in ("loss", "metrics")
        for name, values in _section(history, section).items()
        if isinstance(values, list) and points and len(values) == points
    }
    for name, entry in _section(history, "series").items():
        values = entry.get("values") if isinstance(entry, dict) else None
        if isinstance(values, list) and values:
            last[name] = values[-1]
    return to_values(
        final=_numbers(_section(history, "final_metrics")),
        last=_numbers(last),
        best={
            name: entry
            for name, entry in _section(history, "best").items()
            if isinstance(entry, dict) and _is_number(entry.get("value"))
        },
        params=_section(history, "params"),
        tags={name: text for name, text in _section(history, "tags").items() if isinstance(text, str)},
    )


def _section(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name)
    return found if isinstance(found, dict) else {}


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in found.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    """Returns True of a number that float64 can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True
