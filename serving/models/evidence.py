"""What a comparison kept, as tables and the rest by its place: nothing is left out, and no shape is refused."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from serving.svg import to_short
from serving.view.stored import finite

MOST_ROWS: Final = 200
"""The most rows of all tables, and of the rest; the JSON has all of them."""
_MOST_COLUMNS: Final = 12
_MOST_CHARACTERS: Final = 2_000
_DEEPEST: Final = 8
_LOW: Final = ("low", "lower", "ci_low")
_HIGH: Final = ("high", "upper", "ci_high")
_MIDDLE: Final = ("value", "mean", "estimate", "difference")


class Table(msgspec.Struct, frozen=True):
    """Things of one kind beside each other: what they are called, the columns, and of each its name and texts."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


class Group(msgspec.Struct, frozen=True):
    """Values that stand in one object: what it is called (empty: the evidence itself), and each by its name."""

    title: str
    values: list[tuple[str, str]]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that was kept, in its order."""

    tables: list[Table] = []
    groups: list[Group] = []
    more: int = 0  # rows and values that are not shown

    @property
    def empty(self) -> bool:
        """Whether nothing was kept."""
        return not (self.tables or self.groups)


def to_evidence(kept: Any) -> Evidence:
    """Returns the evidence as a page shows it, and never raises for what is in it."""
    if kept in ({}, None):
        return Evidence()
    tables: list[Table] = []
    groups: dict[str, list[tuple[str, str]]] = {}
    rows = values = 0
    for path, value in _walk((), kept):
        if isinstance(value, Table):
            if rows < MOST_ROWS:
                tables.append(Table(value.title, value.columns, value.rows[: MOST_ROWS - rows]))
            rows += len(value.rows)
            continue
        if values < MOST_ROWS:
            groups.setdefault(_say_path(path[:-1]), []).append((path[-1] if path else "evidence", value))
        values += 1
    return Evidence(
        tables=tables,
        groups=[Group(title, found) for title, found in groups.items()],
        more=max(0, rows - MOST_ROWS) + max(0, values - MOST_ROWS),
    )


def _walk(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields tables, and texts of what is in none, with their paths."""
    deep = len(path)
    if deep and deep <= _DEEPEST and (table := _to_table(_say_path(path), value)) is not None:
        yield path, table
    elif isinstance(value, Mapping) and value and deep < _DEEPEST and _find_ends(value) is None:
        for name, inner in value.items():
            yield from _walk((*path, _say(name)), inner)
    else:
        yield path, to_text(value)


def _to_table(title: str, value: Any) -> Table | None:
    """Returns a table of a list of things, or of things by name that have numbers; None if it is neither."""
    named = _to_named(value)
    cells = [(name, _merge_ends(one)) for name, one in named]
    columns = list(dict.fromkeys(column for _, one in cells for column in one))
    flat = all(_is_flat(cell) for _, one in cells for cell in one.values())
    if not columns or len(columns) > _MOST_COLUMNS or not flat:
        return None
    rows = [(name, [to_text(one[column]) if column in one else "" for column in columns]) for name, one in cells]
    return Table(title, [_say(column) for column in columns], rows)


def _to_named(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Returns the things with their names; empty if `value` holds no such things."""
    if isinstance(value, Mapping):
        found = [(_say(name), dict(one)) for name, one in value.items() if isinstance(one, Mapping)]
        numbers = all(any(_is_number(cell) for cell in one.values()) for _, one in found)
        ends = any(_find_ends(one) and len(one) <= 3 for _, one in found)
        return found if len(found) == len(value) and numbers and not ends else []
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        return []
    listed = []
    for place, one in enumerate(value, 1):
        key = next((key for key in ("name", "metric") if isinstance(one.get(key), str)), "")
        rest = {name: cell for name, cell in one.items() if name != key}
        listed.append((to_text(one[key]) if key else str(place), rest))
    return listed


def _merge_ends(one: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values, with an interval's two ends as one value."""
    ends = _find_ends(one)
    if ends is None:
        return dict(one)
    found: dict[str, Any] = {}
    for name, value in one.items():
        if name in ends:
            found["interval"] = [one[ends[0]], one[ends[1]]]
        else:
            found[name] = value
    return found


def _find_ends(one: Any) -> tuple[str, str] | None:
    """Returns the keys of an interval's ends; None if it does not have both."""
    if not isinstance(one, Mapping):
        return None
    low, high = (next((name for name in names if _is_number(one.get(name))), None) for names in (_LOW, _HIGH))
    return (low, high) if low is not None and high is not None else None


def _is_flat(value: Any) -> bool:
    """Returns whether the value fits into a cell."""
    if isinstance(value, Mapping):
        return not value or (_find_ends(value) is not None and len(value) <= 3)
    return not isinstance(value, list) or (
        len(value) <= 3 and not any(isinstance(one, list | Mapping) for one in value)
    )


def _is_number(value: Any) -> bool:
    return (
        finite(value) is not None or _find_ends(value) is not None or (isinstance(value, list) and _is_interval(value))
    )


def _is_interval(value: Sequence[Any]) -> bool:
    return len(value) in (2, 3) and all(finite(one) is not None for one in value)


def to_text(value: Any) -> str:
    """Returns one value as text: numbers short, an interval with its ends, the rest as JSON.

    >>> to_text([0.0812345, 0.07, 0.09]), to_text({"value": 0.25, "low": 0, "high": 0.5}), to_text(None)
    ('0.08123 (0.07 to 0.09)', '0.25 (0 to 0.5)', '\N{EN DASH}')
    """
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _cut(value)
    if (number := finite(value)) is not None:
        return to_short(number) if isinstance(value, float) else _cut(str(value))
    if isinstance(value, Mapping) and (ends := _find_ends(value)) is not None and len(value) <= 3:
        said = f"{to_text(value[ends[0]])} to {to_text(value[ends[1]])}"
        middle = next((name for name in _MIDDLE if _is_number(value.get(name))), None)
        if middle is not None or len(value) == 2:
            return said if middle is None else f"{to_text(value[middle])} ({said})"
    if isinstance(value, list) and _is_interval(value):
        texts = [to_text(one) for one in value]
        if len(texts) == 2:
            return f"{texts[0]} to {texts[1]}"
        if value[1] <= value[0] <= value[2]:
            return f"{texts[0]} ({texts[1]} to {texts[2]})"
    try:
        return _cut(msgspec.json.encode(value).decode())
    except (TypeError, ValueError, RecursionError):
        return _cut(repr(value))


def _say_path(path: Sequence[str]) -> str:
    return ", ".join(path)


def _say(name: Any) -> str:
    return _cut(str(name).replace("_", " ")) or "(no name)"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}... ({len(text):,} characters)"
