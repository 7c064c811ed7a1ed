"""Reads the parts of a stored history, whichever program wrote it; a missing or wrong part is empty, not an error."""

import json
import math
from typing import Any


def read_stored(stored: bytes | None) -> dict[str, Any] | None:
    """Returns the history, None if nothing is published. Raises: ValueError: what is stored is not a history."""
    if stored is None:
        return None
    try:
        # The standard library's reader accepts the bare NaN and Infinity tokens of legacy payloads.
        history = json.loads(stored)
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    if not isinstance(history, dict):
        raise ValueError(f"an object was expected, got {type(history).__name__}")  # noqa: TRY004  (one error for both)
    return history if history.get("available") is True else None


def section(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the object of that name; empty if there is none."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Returns `value` if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def finite(value: Any) -> float | None:
    """Returns a number that a chart can draw; None for anything else (integers beyond float64 included)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
