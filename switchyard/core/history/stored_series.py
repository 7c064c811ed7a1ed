"""The series of a history that was published before every series was.

Its stored points, in the form of the full series (`core.history.full_series`), and marked as not complete.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from switchyard.core.history.full_series import to_stored
from switchyard.core.history.publication import FullSeries
from switchyard.core.history.scalars import MAX_EXACT_STEP, to_json_steps
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import PUBLISHED_LOSS, NonFiniteKind


def to_stored_series(stored: bytes) -> FullSeries | None:
    """Returns what ``/series/`` answers of a stored history; None if it cannot be read.

    Each series is under the name that the full series give it, and on the history's epochs: a legacy one that is
    shorter ends in nulls, and what it has beyond the epochs belongs to none. What is not finite is null, and named.
    """
    try:
        history = json.loads(stored)  # takes the tokens NaN and Infinity, which legacy payloads have
    except (ValueError, RecursionError):
        return None
    if not isinstance(history, dict):
        return None
    epochs = [epoch for epoch in _to_list(history.get("epochs")) if type(epoch) is int]
    total = _section(history, "sampling").get("total")
    stated = _section(history, "non_finite")
    axis = epochs if max(map(abs, epochs), default=0) <= MAX_EXACT_STEP else []
    entries: dict[str, dict[str, Any]] = {}
    non_finite: dict[str, dict[str, NonFiniteKind]] = {}
    for section, name, path in _list_axis(history):
        values = (_to_list(history[section][name]) + [None] * len(epochs))[: len(epochs)]
        kinds = _find_kinds(values) | _to_positions(_section(_section(stated, section), name), epochs)
        entries[path] = {} if axis == epochs else {"steps": to_json_steps(epochs)}
        entries[path] |= {
            "values": [_to_number(value) for value in values],
            "kept": len(epochs),
            "total": total if type(total) is int else len(epochs),
        }
        if kinds:
            non_finite[path] = kinds
    for name, found in _section(history, "series").items():  # of version 2, on steps of their own
        entries[name] = found
        if name in _section(stated, "series"):
            non_finite[name] = stated["series"][name]
    return to_stored(entries, epochs=axis, non_finite=non_finite, complete=False)


def _list_axis(history: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Lists each series on the history's epochs that has values.

    It gives the section, the name there, and the name among the full series.
    """
    named = [("loss", name, PUBLISHED_LOSS.get(name, to_path("loss", name))) for name in _section(history, "loss")]
    named += [("metrics", name, name) for name in _section(history, "metrics")]
    named += [("gradient", name, to_path("gradient", name)) for name in _section(history, "gradient")]
    return [found for found in named if _to_list(history[found[0]][found[1]])]


def _find_kinds(values: list[Any]) -> dict[str, NonFiniteKind]:
    """Returns the kinds of bare tokens, which a legacy history may hold, by position."""
    return {
        str(position): "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        for position, value in enumerate(values)
        if isinstance(value, float) and not math.isfinite(value)
    }


def _to_positions(kinds: Mapping[str, Any], epochs: list[int]) -> dict[str, NonFiniteKind]:
    """Returns what a history says by epoch, by position."""
    positions = {str(epoch): str(position) for position, epoch in enumerate(epochs)} if kinds else {}
    return {positions[epoch]: kind for epoch, kind in kinds.items() if epoch in positions}


def _to_number(value: Any) -> float | int | None:
    """Returns a number that JSON can hold and a chart can draw; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) <= MAX_EXACT_STEP else None
    return value if math.isfinite(value) else None


def _section(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name)
    return found if isinstance(found, dict) else {}


def _to_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
