"""Times of purchases as one number, which orders them, and in words.

A source that has no times, but numbers that order its rows, keeps those: they are a moment too, of a clock of its own.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from switchyard.core.errors import BadRequest

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_US: Final = 1e14  # 1973
_LATEST_US: Final = 1e17  # 5138
_UNITS_US: Final = ((1e-3, 1e17), (1.0, 1e14), (1e3, 1e11), (1e6, 1e8))
"""(microseconds in a unit, the least number that can only be a count of it since 1970)."""


def find_unit_us(largest: float) -> float | None:
    """Returns how many microseconds the unit of time has that `largest` must be in; None: it is not a time since 1970.

    A time is from 1973 to the year 5138.

    Such a time is from 1973 to the year 5138.

    >>> find_unit_us(1_700_000_000), find_unit_us(48_000)
    (1000000.0, None)
    """
    if not largest < 1e20:
        return None
    return next((unit for unit, least in _UNITS_US if largest >= least), None)


def is_time(moment: float) -> bool:
    """Returns whether it is microseconds since 1970, and not a number of the source's own.

    >>> is_time(1.7e15), is_time(48_000.0)
    (True, False)
    """
    return _EARLIEST_US <= moment < _LATEST_US


def say_moment(moment: float) -> str:
    """Returns the moment as `read_moment` reads it back: ISO 8601 in UTC, or the source's own number.

    >>> say_moment(1.7e15), say_moment(48_000.0)
    ('2023-11-14T22:13:20+00:00', '48000')
    """
    if is_time(moment):
        return (_EPOCH + timedelta(microseconds=round(moment))).isoformat()
    return str(int(moment)) if moment.is_integer() else repr(moment)


def read_moment(text: str) -> float:
    """Returns the moment that a person or a record names, in UTC if no zone is given.

    For a date alone it is the last microsecond of that day.

    >>> read_moment("2023-11-14") == read_moment("2023-11-14T23:59:59.999999Z")
    True
    >>> read_moment("48000")
    48000.0

    Raises:
        BadRequest: it is neither a date, nor a time, nor a number.
    """
    try:
        number = float(text)
    except ValueError:
        return _read_time(text)
    if number != number or number in (float("inf"), float("-inf")):
        raise BadRequest(f"{text!r} is not a date, a time or a number")
    return number * (find_unit_us(number) or 1.0)


def to_next_day(moment: float) -> float:
    """Returns when the day (UTC) after that of a time begins. A number of the source's own has no day, and stays.

    >>> say_moment(to_next_day(read_moment("2024-02-29T12:00:00Z")))
    '2024-03-01T00:00:00+00:00'
    """
    if not is_time(moment):
        return moment
    day_us = 86_400e6
    return (moment // day_us + 1) * day_us


def _read_time(text: str) -> float:
    try:
        if len(text) == len("2024-02-29"):
            day = date.fromisoformat(text) + timedelta(days=1)
            found = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(microseconds=1)
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as err:
        raise BadRequest(f"{text!r} is not a date (2024-02-29), a time (2024-02-29T12:00:00Z) or a number") from err
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return float((found - _EPOCH) // timedelta(microseconds=1))
