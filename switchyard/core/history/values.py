"""The values of a run that lists, filters and comparisons ask for: one row each in `switchyard_values`."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from switchyard.core.history.publication import Value, ValueKind

MAX_NAME: Final = 250
"""Characters of a name; a longer one has no value here, and stays in the history and the series. With `MAX_TEXT` and
four bytes a character an entry fits Postgres' index, which takes 2,704 bytes."""
MAX_TEXT: Final = 250
"""Characters of a text; of a longer one these are kept."""
MAX_VALUES: Final = 10_000
"""The most values of each kind; a run with more has the first ones, by name."""


def to_values(
    *,
    final: Mapping[str, float | None],
    last: Mapping[str, float | None],
    best: Mapping[str, Mapping[str, Any]],
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> list[Value]:
    """Returns all values, by kind and name.

    What is missing or not finite has none. A text that is a number has both; a param that is a list or an object is the
    JSON of it.
    """
    return [
        *_to_numbers("final", final),
        *_to_numbers("last", last),
        *_to_numbers("best", {name: found["value"] for name, found in best.items()}),
        *_to_texts("param", params),
        *_to_texts("tag", tags),
    ]


def _to_numbers(kind: ValueKind, found: Mapping[str, float | None]) -> Iterator[Value]:
    for name in _choose_names(found):
        value = found[name]
        if value is not None and math.isfinite(value):
            yield Value(kind=kind, name=name, number=float(value))


def _to_texts(kind: ValueKind, found: Mapping[str, Any]) -> Iterator[Value]:
    for name in _choose_names(found):
        value = found[name]
        if isinstance(value, bool):
            yield Value(kind=kind, name=name, text="true" if value else "false")
        elif isinstance(value, str):
            yield Value(kind=kind, name=name, number=to_number(value), text=value[:MAX_TEXT])
        elif isinstance(value, int | float):
            yield Value(kind=kind, name=name, number=to_number(str(value)), text=str(value)[:MAX_TEXT])
        elif isinstance(value, list | dict):
            yield Value(kind=kind, name=name, text=json.dumps(value, ensure_ascii=False)[:MAX_TEXT])


def without_later(wanted: list[Value], found: list[Value], params: Mapping[str, Any]) -> list[Value]:
    """Returns `wanted` without params that are lists or objects and not in `found`.

    What was published before these had values has none, and is no less right.
    """
    there = {(value.kind, value.name) for value in found}
    later = {("param", name) for name, value in params.items() if isinstance(value, list | dict)} - there
    return [value for value in wanted if (value.kind, value.name) not in later]


def to_number(text: str) -> float | None:
    """Returns the finite number that a text is, else None.

    >>> to_number("1e-3"), to_number("adam"), to_number("nan"), to_number("1_000")
    (0.001, None, None, None)
    """
    if "_" in text:  # Python's own way to write a number, which no one logs
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _choose_names(found: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted(found) if 0 < len(name) <= MAX_NAME][:MAX_VALUES]
