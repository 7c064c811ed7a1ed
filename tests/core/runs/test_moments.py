"""Moments of purchases, as numbers and in words."""

from datetime import UTC, datetime

import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.runs.moments import is_time, read_moment, say_moment, to_next_day


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2010-12-01", datetime(2010, 12, 1, 23, 59, 59, 999_999, UTC)),
        ("2010-12-01T08:26", datetime(2010, 12, 1, 8, 26, tzinfo=UTC)),
        ("2010-12-01T08:26:00+02:00", datetime(2010, 12, 1, 6, 26, tzinfo=UTC)),
        ("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("1700000000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ],
)
def test_times_are_read(text: str, expected: datetime) -> None:
    """Dates, times, seconds and milliseconds since 1970; said again they are the same."""
    found = read_moment(text)
    assert is_time(found)
    assert found == expected.timestamp() * 1e6
    assert say_moment(found) == expected.isoformat()
    assert read_moment(say_moment(found)) == found


@pytest.mark.parametrize("number", [0.0, 47_999.0, -3.0, 0.25, 99_999_999.0])
def test_own_numbers_are_kept(number: float) -> None:
    """A source that numbers its rows has no dates, and none is made up."""
    assert not is_time(number)
    assert read_moment(say_moment(number)) == number
    assert to_next_day(number) == number


@pytest.mark.parametrize("text", ["", "yesterday", "2010-13-01", "nan", "inf", "9999-12-31x"])
def test_other_words_are_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(BadRequest, match="a date"):
        read_moment(text)
