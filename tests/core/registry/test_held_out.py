"""Which purchases are new to both versions, and how they are read."""

from datetime import UTC, datetime
from typing import Any

import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.registry.held_out import Limit, to_data_spec, to_first_moment, to_limit
from switchyard.core.registry.rows import Lineage, ModelVersion
from switchyard.core.runs.moments import read_moment, say_moment


def version(number: int = 2, **lineage: Any) -> ModelVersion:
    return ModelVersion(
        name="shop", version=number, digest="sha256:2", lineage=Lineage(**lineage), created_at=datetime.now(UTC)
    )


def limits(*moments: str) -> tuple[Limit, ...]:
    return tuple(
        Limit(version=number, moment=read_moment(moment), said_by="training")
        for number, moment in enumerate(moments, start=1)
    )


NOON = "2026-01-15T12:00:00Z"
TABLE: list[tuple[tuple[str, ...], bool, str, str, str | None]] = [
    # Until when was trained, whole days, the purchases' first and last, and from when on they count (None: refused).
    ((NOON,), True, "2026-01-01", "2026-01-20", "2026-01-16T00:00:00+00:00"),
    ((NOON, "2026-01-17T01:00:00Z"), True, "2026-01-01", "2026-01-20", "2026-01-18T00:00:00+00:00"),
    (("2026-01-17T01:00:00Z", NOON), True, "2026-01-01", "2026-01-20", "2026-01-18T00:00:00+00:00"),
    ((NOON,), True, "2026-01-01", "2026-01-16T00:00:00Z", "2026-01-16T00:00:00+00:00"),
    ((NOON,), True, "2026-01-01", "2026-01-15T23:59:59Z", None),
    ((NOON,), False, "2026-01-01", "2026-01-15T23:59:59Z", "2026-01-15T12:00:00+00:00"),
    ((NOON,), False, "2026-01-01", NOON, None),
    (("2026-01-15",), False, "2026-01-01", "2026-01-15T23:59:59Z", None),
    (("71",), True, "0", "79", "71"),
    (("71", "72"), True, "0", "79", "72"),
    (("79",), True, "0", "79", None),
]


@pytest.mark.parametrize(("until", "whole_days", "first", "last", "expected"), TABLE)
def test_purchases_count_from_when_no_training_has_seen_them(
    until: tuple[str, ...], whole_days: bool, first: str, last: str, expected: str | None
) -> None:
    """The later of both trainings; the day after it, or the next moment."""
    given = read_moment(first), read_moment(last)
    if expected is None:
        with pytest.raises(BadRequest, match="no purchase is newer") as caught:
            to_first_moment(limits(*until), *given, whole_days=whole_days)
        for moment in (*given, *map(read_moment, until)):
            assert say_moment(moment) in str(caught.value)
        return
    begin, included = to_first_moment(limits(*until), *given, whole_days=whole_days)
    assert say_moment(begin) == expected
    assert included is (whole_days and "T" in expected)


def test_day_that_is_left_out_is_told() -> None:
    """With the flag that takes it in."""
    with pytest.raises(BadRequest, match="--no-whole-days"):
        to_first_moment(limits(NOON), 0.0, read_moment("2026-01-15T13:00:00Z"), whole_days=True)


def test_dates_are_not_held_against_numbers() -> None:
    """Which is newer is not known."""
    with pytest.raises(BadRequest, match=r"trained until 71, and the purchases end at 2026-01-15.*--time-column"):
        to_first_moment(limits("71"), 0.0, read_moment(NOON), whole_days=True)


def test_training_s_word_goes_before_the_caller_s() -> None:
    """Who knows better says it; where neither does, it is refused with the flag."""
    known = to_limit(version(trained_until="71"), "9")
    assert (known.moment, known.said_by) == (71.0, "training")
    given = to_limit(version(), "2026-01-15")
    assert (say_moment(given.moment), given.said_by) == ("2026-01-15T23:59:59.999999+00:00", "caller")
    with pytest.raises(BadRequest, match=r"version 2 of model shop.*--trained-until"):
        to_limit(version(), "")


def test_purchases_are_read_as_those_that_were_trained_on() -> None:
    """But for what is given; made-up ones are made up again, from the same seed."""
    trained = {"data_uri": "file:///old.csv", "buyer_column": "who", "quantity_column": "n", "epochs": 3, "name": "x"}
    spec = to_data_spec(version(parameters=trained), "file:///new.csv", {"product_column": "what", "buyer_column": ""})
    assert (spec.data_uri, spec.buyer_column, spec.product_column) == ("file:///new.csv", "who", "what")
    assert spec.quantity_column == "n"
    own = to_data_spec(version(parameters=trained), "", {"quantity_column": "none"})
    assert (own.data_uri, own.quantity_column) == ("file:///old.csv", "")
    made_up = {"data_uri": "", "synthetic_products": 40, "seed": 9, "top_k": 10}
    assert to_data_spec(version(parameters=made_up), "", {}).synthetic_products == 40
    assert to_data_spec(version(parameters=made_up), "file:///new.csv", {}).data_uri == "file:///new.csv"


def test_purchases_that_nobody_names_are_refused() -> None:
    """An imported model does not say what it was trained on; and flags that contradict each other."""
    with pytest.raises(BadRequest, match="--data-uri"):
        to_data_spec(version(), "", {})
    with pytest.raises(BadRequest, match="one meaning only"):
        to_data_spec(version(), "file:///new.csv", {"buyer_column": "a", "product_column": "a"})
