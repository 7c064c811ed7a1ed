"""A stored history's parts, whatever wrote it: what is missing or of another kind is empty, and raises nothing."""

import json
import math
from typing import Any


def read_stored(stored: bytes | None) -> dict[str, Any] | None:
    """The history, None where nothing is published. Raises: ValueError: what is stored is no history."""
    if stored is None:
        return None
    try:
        # The standard library's reader, because it takes the bare NaN and Infinity tokens of legacy payloads.
        history = json.loads(stored)
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    if not isinstance(history, dict):
        raise ValueError(f"an object was expected, got {type(history).__name__}")  # noqa: TRY004  (one error for both)
    return history if history.get("available") is True else None


def section(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """The object of that name."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """`value` where it is a list."""
    return value if isinstance(value, list) else []


def finite(value: Any) -> float | None:
    """A number that a chart can draw; None for anything else (integers beyond float64 included)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
