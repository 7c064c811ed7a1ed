"""Turns columns of files into what is trained and judged on: ids as text, times and quantities as numbers."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from switchyard.core.errors import BadRequest
from switchyard.core.runs.moments import find_unit_us


def to_ids(column: Any, name: str) -> Any:
    """Returns ids as text, null if there is none.

    Whole numbers lose a fraction of zero: a column with gaps is often stored as floats (12346.0), but its ids are
    12346.

    >>> to_ids(pa.array([12346.0, None]), "customer_id").to_pylist()
    ['12346', None]

    Raises:
        BadRequest: a column of lists or the like.
    """
    column = _plain(column)
    if kinds.is_floating(column.type):
        column = _nan_to_null(column)
        if pc.all(pc.equal(column, pc.floor(column))).as_py() is not False:
            column = column.cast(pa.int64(), safe=False)
    column = _cast(column, pa.string(), name, "ids (text or numbers)")
    if pc.all(pc.match_substring_regex(column, r"^-?\d+\.0$")).as_py():
        column = pc.replace_substring_regex(column, r"\.0$", "")
    blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), column)


def to_times(column: Any, name: str, time_format: str, *, decimal: str = ".") -> Any:
    """Returns numbers that order the rows.

    A time or date becomes microseconds since 1970 (UTC where there is no zone). So does a number that can only be
    seconds, milliseconds or nanoseconds since then; another number stays as it is. Text is read as numbers, else as ISO
    8601, or by `time_format`.

    >>> [to_times(pa.array([time]), "time", "")[0].as_py() for time in ("1700000000.25", "1700000000250", "2023-11-14")]
    [1700000000250000.0, 1700000000250000.0, 1699920000000000.0]

    Raises:
        BadRequest: a text that is not a time; another type.
    """
    column = _plain(column)
    if kinds.is_string(column.type):
        numbers = None if time_format else _read_numbers(column, decimal)
        column = _parse_times(column, name, time_format) if numbers is None else numbers
    if kinds.is_timestamp(column.type) or kinds.is_date(column.type):
        zone = getattr(column.type, "tz", None)
        column = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
        return column.cast(pa.float64())
    return _to_microseconds(to_numbers(column, name, "times (dates, timestamps, numbers, or text)"))


def to_numbers(column: Any, name: str, expected: str = "numbers", *, decimal: str = ".") -> Any:
    """Returns floats, null if there is none. A text has `decimal` before its fraction.

    Raises: BadRequest: it holds something else."""
    column = _plain(column)
    if kinds.is_string(column.type) and (numbers := _read_numbers(column, decimal)) is not None:
        return numbers
    return _nan_to_null(_cast(column, pa.float64(), name, expected))


def _read_numbers(column: Any, decimal: str) -> Any:
    """Returns a text column as floats; None: a text is not a number."""
    column = pc.utf8_trim_whitespace(column)
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    try:
        return _nan_to_null((column if decimal == "." else pc.replace_substring(column, ",", ".")).cast(pa.float64()))
    except pa.ArrowInvalid:
        return None


def _to_microseconds(column: Any) -> Any:
    """Converts numbers that can only be a time since 1970 in another unit; others stay as they are.

    Files of one folder may count in different units, and rows are ordered across all of them.
    """
    largest = pc.max(column).as_py()
    unit_us = None if largest is None else find_unit_us(largest)
    return column if unit_us is None else pc.multiply(column, unit_us)


def _parse_times(column: Any, name: str, time_format: str) -> Any:
    if time_format:
        times = pc.strptime(column, format=time_format, unit="us", error_is_null=True)
        wrong = pc.filter(column, pc.and_(pc.is_null(times), pc.is_valid(column)))
        if len(wrong):
            row = pc.index(pc.and_(pc.is_null(times), pc.is_valid(column)), True).as_py() + 1
            raise BadRequest(
                f"column {name!r}: times as --time-format {time_format!r} says were expected; "
                f"{len(wrong)} of {len(column)} are not, the first is {wrong[0].as_py()!r} in row {row}"
            )
        return times
    problem: Exception | None = None
    shapes = (pa.timestamp("us"), pa.timestamp("us", "UTC"))  # Arrow reads an offset only if a zone is asked for
    for shape in shapes:
        try:
            return column.cast(shape)
        except pa.ArrowInvalid as err:
            problem = problem or err
    raise BadRequest(
        f"column {name!r}: times such as 2010-12-01 08:26:00 were expected; {_find_row(column, *shapes)}; "
        "say how they are written with --time-format, for example '%m/%d/%Y %H:%M'"
    ) from problem


def _plain(column: Any) -> Any:
    """Returns one array, not in chunks and not dictionary-encoded; large and binary text as plain text."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kinds.is_null(column.type) or kinds.is_large_string(column.type) or kinds.is_binary(column.type):
        column = column.cast(pa.string())
    return column


def _nan_to_null(column: Any) -> Any:
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _cast(column: Any, kind: Any, name: str, expected: str) -> Any:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        found = _find_row(column, kind) if kinds.is_string(column.type) else f"it holds {column.type}: {err}"
        raise BadRequest(f"column {name!r} must hold {expected}; {found}") from err


def _find_row(column: Any, *shapes: Any) -> str:
    """Says which row of a text column is the first that fits none of `shapes`; none of them fits all rows."""
    row = max(_count_good(column, shape) for shape in shapes)
    return f"row {row + 1} has {column[row].as_py()!r}"


def _count_good(column: Any, shape: Any) -> int:
    """Returns how many rows from the first on can be cast; not all of them can."""
    good, bad = 0, len(column)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            column.slice(good, middle - good).cast(shape)
        except pa.ArrowInvalid:
            bad = middle
        else:
            good = middle
    return good
