"""The series of a history that was published before every series was: its stored points, in the form of the full series
(`core.history.full_series`), and marked as not complete."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import PUBLISHED_LOSS

_MAX_INTEGER: Final = 2**53
"""Beyond it a number of JSON is another one for most readers."""


def to_stored_series(stored: bytes) -> dict[str, Any] | None:
    """What ``/series/`` answers of a stored history; None where it cannot be read.

    Each series is under the name that the full series give it, and on the history's epochs: a legacy one that is
    shorter ends in nulls, and what it has beyond the epochs belongs to none. What is not finite is null, and named.

    >>> found = to_stored_series(b'{"epochs": [0, 5], "loss": {"val": [0.5, 0.25]}, "sampling": {"total": 7}}')
    >>> found["series"]
    {'val_loss': {'values': [0.5, 0.25], 'kept': 2, 'total': 7}}
    """
    try:
        history = json.loads(stored)  # takes the tokens NaN and Infinity, which legacy payloads have
    except (ValueError, RecursionError):
        return None
    if not isinstance(history, dict):
        return None
    epochs = _to_list(history.get("epochs"))
    total = _section(history, "sampling").get("total")
    stated = _section(history, "non_finite")
    series: dict[str, dict[str, Any]] = {}
    non_finite: dict[str, dict[str, str]] = {}
    for section, name, path in _list_axis(history):
        values = (_to_list(history[section][name]) + [None] * len(epochs))[: len(epochs)]
        kinds = _find_kinds(values, epochs) | _texts(_section(_section(stated, section), name))
        series[path] = {
            "values": [_to_number(value) for value in values],
            "kept": len(epochs),
            "total": total if type(total) is int else len(epochs),
        }
        if kinds:
            non_finite[path] = kinds
    for name, found in _section(history, "series").items():  # of version 2, on steps of their own
        if isinstance(found, dict):
            series[name] = found
            if kinds := _texts(_section(_section(stated, "series"), name)):
                non_finite[name] = kinds
    return {
        "available": True,
        "complete": False,
        "epochs": [epoch if type(epoch) is int and abs(epoch) <= _MAX_INTEGER else str(epoch) for epoch in epochs],
        "series": series,
        "non_finite": non_finite,
    }


def _list_axis(history: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Section, name there, and name among the full series, of each series on the history's epochs that has values."""
    named = [("loss", name, PUBLISHED_LOSS.get(name, to_path("loss", name))) for name in _section(history, "loss")]
    named += [("gradient", name, to_path("gradient", name)) for name in _section(history, "gradient")]
    named += [("metrics", name, name) for name in _section(history, "metrics")]
    return [found for found in named if _to_list(history[found[0]][found[1]])]


def _find_kinds(values: list[Any], epochs: list[Any]) -> dict[str, str]:
    """Of bare tokens, which a legacy history may hold."""
    return {
        str(epoch): "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        for epoch, value in zip(epochs, values, strict=True)
        if isinstance(value, float) and not math.isfinite(value)
    }


def _to_number(value: Any) -> float | int | None:
    """A number that JSON can hold and a chart can draw; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) <= _MAX_INTEGER else None
    return value if math.isfinite(value) else None


def _section(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name)
    return found if isinstance(found, dict) else {}


def _to_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(kinds: Mapping[str, Any]) -> dict[str, str]:
    return {name: kind for name, kind in kinds.items() if isinstance(kind, str)}
