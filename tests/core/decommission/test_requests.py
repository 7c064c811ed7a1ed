"""What a metric and a log say of the same time, and when their silence counts."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from switchyard.core.decommission.requests import Control, is_at_edge, list_control_refusals

SINCE = datetime(2026, 11, 2, 8, 0, 30, tzinfo=UTC)
CONTROL = Control(service="s", since=SINCE - timedelta(days=30), logged_at=SINCE, counted=3)


@pytest.mark.parametrize(
    ("before_s", "took_s", "is_edge"),
    [
        (1, 0, True),  # in the minute whose point ends after the window's begin
        (29, 0, True),
        (59, 0, True),
        (60, 0, False),  # its point has ended by then, whatever the minutes' places
        (61, 0, False),
        (61, 2, True),  # it ended in that minute
        (600, 539, False),
        (600, 541, True),
        (600, 700, True),
        (3_600, 3_600, True),  # the longest there is
        (3_660, 3_600, False),
        (0, 0, False),  # it is in the window itself
        (-5, 0, False),
    ],
)
def test_what_the_metric_may_count_and_the_log_has_before(before_s: float, took_s: float, is_edge: bool) -> None:
    """That, and nothing more: else a caller would hide behind it."""
    began_at = SINCE - timedelta(seconds=before_s)
    assert is_at_edge(began_at, timedelta(seconds=took_s), SINCE) is is_edge


@pytest.mark.parametrize(
    ("changed", "counts", "said"),
    [
        ({}, True, []),
        ({"logged_at": None}, True, ["its request log has no entry"]),
        ({"counted": 0}, True, ["its metric request_count has no request"]),
        ({"counted": 0}, False, []),  # a stopped service has no requests that its metric counts
        ({"logged_at": None, "counted": 0}, True, ["its request log", "its metric"]),
        ({"service": "another"}, True, ["was not tried"]),
    ],
)
def test_silence_counts_where_the_same_query_has_found_something(
    changed: dict[str, object], counts: bool, said: list[str]
) -> None:
    """Of each service."""
    found = list_control_refusals(["s"], [msgspec.structs.replace(CONTROL, **changed)], counts=counts)
    assert len(found) == len(said)
    assert all(words in refusal for words, refusal in zip(said, found, strict=True))
