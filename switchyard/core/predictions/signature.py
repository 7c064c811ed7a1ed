"""What a model of rows takes: its columns by name and type, and a request's instances held against them."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any, Final

import msgspec

from switchyard.core.errors import BadRequest

Row = list[Any]
"""One instance: a value for each column, in the signature's order."""

SHOWN: Final = 5
"""Problems, and names, in one message."""
MAX_TEXT: Final = 100_000
"""Characters of a text."""
MAX_COLUMNS: Final = 10_000
MAX_NAME: Final = 500
"""Characters of a column's name."""
MAX_DIMENSIONS: Final = 8
MAX_VALUES: Final = 1_000_000
"""Numbers in one row: no request has more."""
MAX_SAID: Final = 10_000
"""Characters of a text that a model says of itself."""
_INT64: Final = 2**63


class Type(StrEnum):
    """What a column holds."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"


_EXAMPLES: Final[Mapping[Type, Any]] = {Type.NUMBER: 0.0, Type.INTEGER: 0, Type.BOOLEAN: False, Type.TEXT: ""}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One input."""

    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
    type: Type
    may_be_missing: bool = False  # null, or left out of an object
    # What the model is tried with; None: zero, False, or an empty text.
    example: bool | int | float | Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] | None = None
    # Of a list, or of lists in lists; -1: of any length; empty: a single value.
    shape: Annotated[tuple[int, ...], msgspec.Meta(max_length=MAX_DIMENSIONS)] = ()
    # The least and the largest number that the model can hold; None: any of 64 bits.
    lowest: int | float | None = None
    highest: int | float | None = None


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes, and in words what it answers."""

    columns: Annotated[tuple[Column, ...], msgspec.Meta(max_length=MAX_COLUMNS)]
    answers: Annotated[str, msgspec.Meta(max_length=MAX_SAID)]


def find_problems(signature: Signature) -> list[str]:
    """Returns why a model with this signature is not served: it takes more than a request may hold. Empty: it is.

    >>> find_problems(Signature(columns=(Column(name="x", type=Type.NUMBER, shape=(30_000, 1_000)),), answers=""))
    ['it takes 30,000,000 values in a row; served are models of 1 to 1,000,000']
    """
    columns = signature.columns
    if len(columns) > MAX_COLUMNS:
        return [f"it has {len(columns):,} columns; served are models of at most {MAX_COLUMNS:,}"]
    problems = []
    if long := [column.name for column in columns if len(column.name) > MAX_NAME]:
        problems.append(f"a column's name must have at most {MAX_NAME} characters; not {_show(long)}")
    if any(isinstance(column.example, str) and len(column.example) > MAX_TEXT for column in columns):
        problems.append(f"a text that it was trained with must have at most {MAX_TEXT:,} characters")
    shapes = [column.shape for column in columns]
    if any(len(shape) > MAX_DIMENSIONS or not all(each == -1 or each > 0 for each in shape) for shape in shapes):
        problems.append(f"its lists must be at most {MAX_DIMENSIONS} deep, of 1 or more values or of any length")
    elif (count := sum(abs(math.prod(shape)) for shape in shapes)) > MAX_VALUES:
        problems.append(f"it takes {count:,} values in a row; served are models of 1 to {MAX_VALUES:,}")
    return problems


def make_example(signature: Signature) -> Row:
    """Returns a row that the model must be able to answer.

    It has the columns' examples, else zeros, False and empty texts, in lists of one where these may have any length.

    >>> make_example(Signature(columns=(Column(name="x", type=Type.NUMBER, shape=(-1, 2)),), answers="a number"))
    [[[0.0, 0.0]]]
    """
    return [
        _fill(_EXAMPLES[column.type], column.shape) if column.example is None else column.example
        for column in signature.columns
    ]


def _fill(value: Any, shape: Sequence[int]) -> Any:
    return [_fill(value, shape[1:]) for _ in range(abs(shape[0]))] if shape else value


def read_rows(instances: Sequence[Any], signature: Signature) -> list[Row]:
    """Returns the instances as rows: each an object by column, or a list in the columns' order.

    For one column it may also be the bare value. If that is a list itself, a list is always that value.

    >>> age = Signature(columns=(Column(name="age", type=Type.NUMBER),), answers="a number")
    >>> read_rows([{"age": 3}, [4], 5], age)
    [[3.0], [4.0], [5.0]]
    >>> two = Signature(columns=(Column(name="x", type=Type.NUMBER, shape=(2,)),), answers="a number")
    >>> read_rows([{"x": [3, 4]}, [5, 6]], two)
    [[[3.0, 4.0]], [[5.0, 6.0]]]

    Raises:
        BadRequest: columns are missing or unknown, or values have another type; names them, the first ones of many.
    """
    problems: list[str] = []
    rows = [_read_row(instance, signature, f"instance {number}", problems) for number, instance in enumerate(instances)]
    if problems:
        more = f"; and {len(problems) - SHOWN:,} more problems" if len(problems) > SHOWN else ""
        raise BadRequest(f"{'; '.join(problems[:SHOWN])}{more}. This model takes {describe(signature)}")
    return rows


def describe(signature: Signature) -> str:
    """Returns the columns in words.

    >>> describe(Signature(columns=(Column(name="age", type=Type.NUMBER, may_be_missing=True),), answers="a number"))
    '1 column: age (number or null)'
    """
    columns = signature.columns
    shown = ", ".join(
        f"{column.name[:40]} ({_describe(column)}{' or null' if column.may_be_missing else ''})"
        for column in columns[:20]
    )
    more = f" and {len(columns) - 20:,} more" if len(columns) > 20 else ""
    return f"{len(columns):,} column{'' if len(columns) == 1 else 's'}: {shown}{more}"


def _describe(column: Column) -> str:
    lengths = "".join(f"[{'' if length < 0 else length}]" for length in column.shape)
    return f"{column.type}{lengths}"


def _read_row(instance: Any, signature: Signature, where: str, problems: list[str]) -> Row:
    columns = signature.columns
    if isinstance(instance, dict):
        values = _take_by_name(instance, columns, where, problems)
    elif isinstance(instance, list) and (len(columns) != 1 or not columns[0].shape):
        if len(instance) != len(columns):
            problems.append(f"{where} must have {len(columns):,} values; it has {len(instance):,}")
            return []
        values = instance
    elif len(columns) == 1:
        values = [instance]
    else:
        problems.append(f"{where} must be an object or a list; it is {_name(instance)}")
        return []
    return [
        _read_list(value, column, column.shape, where, problems)
        for value, column in zip(values, columns, strict=True)
        if value is not msgspec.UNSET
    ]


def _take_by_name(instance: dict[str, Any], columns: Sequence[Column], where: str, problems: list[str]) -> list[Any]:
    """Returns the values by name; UNSET for a missing column that is needed, which `problems` then names."""
    names = {column.name for column in columns}
    if unknown := [name for name in instance if name not in names]:
        problems.append(f"{where} has {_show(unknown)}, which the model does not take")
    absent = [column.name for column in columns if column.name not in instance and not column.may_be_missing]
    if absent:
        problems.append(f"{where} must have {_show(absent)}")
    missing = {column.name: None if column.may_be_missing else msgspec.UNSET for column in columns}
    return [instance.get(column.name, missing[column.name]) for column in columns]


def _read_list(value: Any, column: Column, shape: Sequence[int], where: str, problems: list[str]) -> Any:
    """Returns a list of that shape, up to the first value that is wrong."""
    if not shape or (value is None and column.may_be_missing):
        return _read_value(value, column, where, problems)
    length, name = shape[0], f"`{column.name[:40]}` of {where}"
    if not isinstance(value, list):
        problems.append(f"{name} must be a list; it is {_name(value)}")
        return None
    if length not in (-1, len(value)):
        problems.append(f"{name} must have {length:,} values; it has {len(value):,}")
        return None
    before, read = len(problems), []
    for number, each in enumerate(value):
        read.append(_read_list(each, column, shape[1:], f"{where}, value {number}", problems))
        if len(problems) > before:
            return None
    return read


def _read_value(value: Any, column: Column, where: str, problems: list[str]) -> Any:
    if value is None and column.may_be_missing:
        return None
    if column.type is Type.NUMBER and _is_number(value):
        with_point = _to_float(value)
        if math.isfinite(with_point) and _fits(with_point, column):
            return with_point
    elif column.type is Type.INTEGER and _is_number(value) and value == int(value) and -_INT64 <= value < _INT64:
        if _fits(int(value), column):
            return int(value)
    elif column.type is Type.BOOLEAN and isinstance(value, bool):
        return value
    elif column.type is Type.TEXT and isinstance(value, str):
        if len(value) <= MAX_TEXT:
            return value
        problems.append(
            f"`{column.name[:40]}` of {where} must have at most {MAX_TEXT:,} characters; it has {len(value):,}"
        )
        return None
    problems.append(f"`{column.name[:40]}` of {where} must be {_say(column, value)}; it is {_name(value)}")
    return None


def _fits(value: float, column: Column) -> bool:
    return not (
        (column.lowest is not None and value < column.lowest) or (column.highest is not None and value > column.highest)
    )


def _say(column: Column, value: Any) -> str:
    """Returns what a value must be: with the limits if it is a number."""
    said = _SAID[column.type]
    if column.lowest is None or column.highest is None or not _is_number(value):
        return said
    lowest, highest = (
        f"{each:,}" if isinstance(each, int) else f"{each:.8g}" for each in (column.lowest, column.highest)
    )
    return f"{said} from {lowest} to {highest}"


_SAID: Final[Mapping[Type, str]] = {
    Type.NUMBER: "a number",
    Type.INTEGER: "a whole number of 64 bits",
    Type.BOOLEAN: "true or false",
    Type.TEXT: "a text",
}


def _is_number(value: Any) -> bool:
    """Returns True for a finite number: JSON's 1e999 is infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _show(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(f"`{name[:40]}`" for name in names[:SHOWN]) + more


def _name(value: Any) -> str:
    """Returns a value in a message: short, and what it is where it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."


def find_bad_answers(values: Sequence[Any], *, count: int) -> list[str]:
    """Returns what is wrong with a model's answers to `count` rows; empty: nothing.

    An answer is a number, a text, true or false, a list of answers, or an object of answers by name.
    """
    if len(values) != count:
        return [f"{count:,} rows must have {count:,} answers; there are {len(values):,}"]
    bad = next((number for number, value in enumerate(values) if not _is_answer(value)), None)
    return [] if bad is None else [f"the answer to row {bad} is NaN, infinite, or no answer"]


def _is_answer(value: Any) -> bool:
    """Checks level by level, by the types that stand there: an answer may have a million values."""
    level = [value]
    for _ in range(MAX_DIMENSIONS + 1):
        if not all(map(math.isfinite, filter(_is_float, level))):
            return False
        kinds = set(map(type, level))
        if kinds <= _PLAIN:
            return True
        if not kinds <= _ANSWERS:
            return False
        lists = chain.from_iterable(each for each in level if isinstance(each, list))
        level = [*lists, *chain.from_iterable(each.values() for each in level if isinstance(each, dict))]
    return False


_PLAIN: Final = frozenset({str, bool, int, float})
_ANSWERS: Final = _PLAIN | {list, dict}


def _is_float(value: Any) -> bool:
    return type(value) is float
