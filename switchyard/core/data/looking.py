"""What a file's first bytes show to be wrong, before a run is made of it: a column, its times, its numbers."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from switchyard.core.data.columns import choose_columns
from switchyard.core.data.dialect import Dialect, is_number, read_dialect
from switchyard.core.errors import BadRequest
from switchyard.core.runs.spec import TrainSpec

_DATES: Final = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y")
_CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")

_NULLS: Final = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA", "NULL")
) | {"NaN", "n/a", "nan", "null"}
"""What Arrow takes for a missing value. Source: pyarrow.csv.ConvertOptions().null_values, version 26"""


def look_at_csv(head: bytes, spec: TrainSpec, *, is_whole: bool) -> str:
    """Returns what the file that begins with `head` is, in words.

    Raises:
        BadRequest: it cannot be trained on as `spec` says: what was found, and the flag that helps.
    """
    dialect = read_dialect(head, spec, is_whole=is_whole)
    columns = choose_columns(dialect.columns, spec, hint=dialect.hint)
    check_rows(dialect, columns, spec)
    return f"CSV ({dialect.encoding}, separator {dialect.separator!r}), {_describe(columns)}"


def look_at_parquet(names: Sequence[str], spec: TrainSpec) -> str:
    """Returns the same of a Parquet file with columns of these names. Raises: BadRequest."""
    return f"Parquet, {_describe(choose_columns(names, spec))}"


def check_rows(dialect: Dialect, columns: Mapping[str, str], spec: TrainSpec) -> None:
    """Refuses first rows that cannot be read.

    Each must have as many cells as there are columns, and times and quantities that can be read.

    Raises:
        BadRequest: they cannot; it says what is written there, and by which flag it can be read.
    """
    for number, row in enumerate(dialect.rows, start=1 + dialect.has_header):
        if len(row) != len(dialect.columns):
            raise BadRequest(
                f"line {number} has {len(row)} columns; {len(dialect.columns)} were expected: "
                f"{', '.join(map(repr, dialect.columns))}"
            )
    _check_times(_take(dialect, columns["time"]), columns["time"], spec)
    if "quantity" in columns:
        _check_numbers(dialect, columns["quantity"], spec)


def describe_times(values: Sequence[str]) -> str:
    """Returns advice on how to tell `--time-format` what `values` are.

    If they have none of the usual forms, it is an example.

    >>> describe_times(["14.11.2023 22:13"])
    "say how they are written: --time-format '%d.%m.%Y %H:%M'"
    """
    formats = [date + clock for date in _DATES for clock in _CLOCKS]
    fitting = [shape for shape in formats if all(_is_time(value, shape) for value in values)]
    if not fitting:
        return "say how they are written with --time-format, for example '%m/%d/%Y %H:%M'"
    return f"say how they are written: --time-format {' or '.join(map(repr, fitting))}"


def _describe(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{role} {name!r}" for role, name in columns.items())


def _take(dialect: Dialect, name: str) -> list[str]:
    place = dialect.columns.index(name)
    return [row[place] for row in dialect.rows if row[place].strip() not in _NULLS]


def _check_times(values: Sequence[str], name: str, spec: TrainSpec) -> None:
    """Refuses only what no row can be read by: one odd row is the trainer's to tell."""
    if not values or any(_is_time(value, spec.time_format) for value in values):
        return
    if spec.time_format:
        raise BadRequest(
            f"column {name!r}: times as --time-format {spec.time_format!r} says were expected; the first is "
            f"{values[0]!r}; {describe_times(values)}"
        )
    if all(is_number(value, spec.csv_decimal) for value in values):
        return
    if all(is_number(value, ",") for value in values):
        raise BadRequest(f"column {name!r}: times were expected; the first is {values[0]!r}: pass --csv-decimal ,")
    raise BadRequest(
        f"column {name!r}: times such as 2010-12-01 08:26:00, or numbers, were expected; the first is {values[0]!r}; "
        f"{describe_times(values)}"
    )


def _is_time(value: str, shape: str) -> bool:
    try:
        if shape:
            datetime.strptime(value, shape)
        else:
            datetime.fromisoformat(value)
    except ValueError as err:
        # Arrow's directives are the C library's: one that only Python does not know is left to the trainer.
        return "bad directive" in str(err)
    return True


def _check_numbers(dialect: Dialect, name: str, spec: TrainSpec) -> None:
    place = dialect.columns.index(name)
    cells = [(row, cells[place]) for row, cells in enumerate(dialect.rows, start=1)]
    wrong = [
        (row, value) for row, value in cells if value.strip() not in _NULLS and not is_number(value, spec.csv_decimal)
    ]
    if not wrong:
        return
    row, value = wrong[0]
    advice = _advise([value for _, value in wrong], spec.csv_decimal)
    raise BadRequest(f"column {name!r} must hold numbers; row {row} has {value!r}{advice}")


def _advise(wrong: Sequence[str], decimal: str) -> str:
    """Returns what may help with these numbers. 1,250 is as likely more than a thousand as it is a fraction."""
    other = "," if decimal == "." else "."
    flag = f"pass --csv-decimal {other}" if all(is_number(value, other) for value in wrong) else ""
    if not all(re.fullmatch(r"[-+]?\d{1,3}([.,]\d{3})+", value.strip()) for value in wrong):
        return flag and f"; {flag}"
    said = ". Separators of thousands are not read: take them out, or do without the column (--quantity-column '')"
    return f"{said}; if {other!r} is the decimal sign, {flag}" if flag else said
