"""The order of a list, and the places in it that pages begin after."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.core.comparison.fields import ID, Field
from switchyard.core.comparison.order import Key, Order, from_cursor, parse_order, sort_keys, take_after, to_cursor
from switchyard.core.errors import BadRequest

TAGS = Field("tags", "a, `b`")
ORDERS = [Order(field, descending) for field in (ID, TAGS, Field("metrics", "x")) for descending in (True, False)]
_VALUES: dict[int, st.SearchStrategy[Any]] = {
    0: st.floats(allow_nan=False, allow_infinity=False),
    1: st.text(max_size=5),
    2: st.none(),
}


@st.composite
def keys(draw: st.DrawFn, order: Order) -> Key:
    rank = draw(st.sampled_from(order.ranks))
    return rank, draw(_VALUES[rank]), draw(st.integers(1, 2**63 - 1))


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_pages_meet_every_key_once(order: Order) -> None:
    """Whatever the page's size, and also where the place's own run is gone."""

    @given(st.lists(keys(order), unique_by=lambda key: key[2], max_size=12), st.integers(1, 5))
    def check(some: list[Key], limit: int) -> None:
        ordered = sort_keys(some, order)
        assert sorted(map(repr, ordered)) == sorted(map(repr, some))
        seen: list[Key] = []
        after = None
        while page := take_after(ordered, after, order)[:limit]:
            seen += page
            after = from_cursor(to_cursor(page[-1], order), order)
            assert take_after([key for key in ordered if key != after], after, order) == ordered[len(seen) :]
        assert seen == ordered

    check()


def test_runs_without_the_field_come_last() -> None:
    """The newest first, whichever way; numbers before texts, and the other way round."""
    some: list[Key] = [(2, None, 1), (0, 1.0, 2), (1, "a", 3), (2, None, 4), (0, 1.0, 5)]
    assert [key[2] for key in sort_keys(some, Order(TAGS, descending=False))] == [2, 5, 3, 4, 1]
    assert [key[2] for key in sort_keys(some, Order(TAGS, descending=True))] == [3, 5, 2, 4, 1]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("created_at", Order(Field("", "created_at"))),
        ("metrics.x ASC", Order(Field("metrics", "x"), descending=False)),
        ("metrics.`x asc` desc ", Order(Field("metrics", "x asc"))),
        ("metrics.asc", Order(Field("metrics", "asc"))),
    ],
)
def test_order_is_read(text: str, order: Order) -> None:
    """A field and a way; descending where nothing is said."""
    assert parse_order(text) == order
    assert parse_order(str(order)) == order


def test_a_second_field_is_refused_by_name() -> None:
    """The error quotes what is too much, and not the way that fits."""
    with pytest.raises(BadRequest, match="order_by takes one field, then asc or desc; got ', id desc'"):
        parse_order("created_at asc, id desc")


def packed(said: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "\N{GRINNING FACE}",
        "A" * 9_999,
        packed(None),
        packed(["id desc", 0, 0.0]),
        packed(["id asc", 0, 0.0, 1]),
        packed(["id desc", 1, "a", 1]),
        packed(["id desc", 9, 0.0, 1]),
        packed(["id desc", 0, "a", 1]),
        packed(["id desc", 0, None, 1]),
        packed(["id desc", 0, 0.0, -1]),
        packed(["id desc", 0, 0.0, 2**63]),
        packed(["id desc", 0, 0.0, 1])[:-3],
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    """A place that was made up, or taken from another list, is refused."""
    with pytest.raises(BadRequest, match="`after`"):
        from_cursor(text, Order())


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda some: base64.urlsafe_b64encode(some).decode()))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    """No other exception."""
    try:
        from_cursor(text, Order())
    except BadRequest:
        return
