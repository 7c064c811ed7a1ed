"""Which version answers a buyer, and when a challenger is stopped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.core.predictions.arms import (
    MIN_CALLS,
    Arm,
    Split,
    choose_arm,
    find_reason_to_stop,
    to_drift,
    to_fraction,
    to_overlap,
    to_salt,
)

BUYERS = [f"buyer {number}" for number in range(20_000)]
SALT = to_salt(3, "sha256:abc")

buyers = st.text(st.characters(codec=None), min_size=1)  # lone surrogates too
shares = st.floats(0, 0.5)
splits = st.builds(Split, model=st.text(max_size=9), salt=st.text(max_size=9), share=shares)


def split(share: float, salt: str = SALT, model: str = "shop") -> Split:
    return Split(model=model, salt=salt, share=share)


@given(splits, buyers)
def test_buyer_stands_somewhere_from_0_to_below_1(given_split: Split, buyer: str) -> None:
    """Whatever the id is; so a share of 1 has everyone, and one of 0 no one."""
    assert 0 <= to_fraction(given_split, buyer) < 1


@given(splits, buyers)
def test_same_buyer_has_the_same_arm(given_split: Split, buyer: str) -> None:
    """On every server, at every time."""
    same = Split(model=given_split.model, salt=given_split.salt, share=given_split.share)
    assert choose_arm(given_split, buyer) is choose_arm(same, buyer)


@given(shares, shares, buyers)
def test_greater_share_moves_no_buyer_back(one: float, other: float, buyer: str) -> None:
    """Only buyers between the two shares move, to the challenger."""
    few, many = sorted((one, other))
    before, after = choose_arm(split(few), buyer), choose_arm(split(many), buyer)
    moved = few <= to_fraction(split(0), buyer) < many
    assert (before is not after) == moved
    assert not moved or after is Arm.CHALLENGER


@given(splits)
def test_request_without_a_buyer_is_the_champions(given_split: Split) -> None:
    """There is nothing to be faithful to."""
    assert choose_arm(given_split, "") is Arm.CHAMPION


@given(buyers)
def test_share_of_0_is_no_ones(buyer: str) -> None:
    """A challenger in the shadow answers no buyer."""
    assert choose_arm(split(0), buyer) is Arm.CHAMPION


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_share_is_that_part_of_the_buyers(share: float) -> None:
    """Within four standard deviations."""
    found = sum(choose_arm(split(share), buyer) is Arm.CHALLENGER for buyer in BUYERS) / len(BUYERS)
    assert abs(found - share) < 4 * (share * (1 - share) / len(BUYERS)) ** 0.5


@pytest.mark.parametrize("other", [split(0.5, to_salt(4, "sha256:abc")), split(0.5, model="bikes")])
def test_other_challenger_gets_other_buyers(other: Split) -> None:
    """Half of those of the one before; also where another version has the same files, or the model is another."""
    first = {buyer for buyer in BUYERS if choose_arm(split(0.5), buyer) is Arm.CHALLENGER}
    second = {buyer for buyer in BUYERS if choose_arm(other, buyer) is Arm.CHALLENGER}
    assert 0.47 < len(first & second) / len(first) < 0.53


def test_fractions_are_these_for_ever() -> None:
    """Servers of two versions of the code stand side by side during an update."""
    assert [round(to_fraction(split(0), buyer), 6) for buyer in ("b1", "b2", "Ünï \U0001f600")] == FRACTIONS


FRACTIONS = [0.963842, 0.07721, 0.124153]


@pytest.mark.parametrize(
    ("calls", "errors", "stops"),
    [
        (0, 0, False),
        (MIN_CALLS - 1, MIN_CALLS - 1, False),
        (MIN_CALLS, MIN_CALLS, True),
        (MIN_CALLS, 2, False),
        (MIN_CALLS, 3, True),
        (500, 25, False),
        (500, 26, True),
    ],
)
def test_challenger_is_stopped_above_a_rate_over_enough_answers(calls: int, errors: int, *, stops: bool) -> None:
    """The reason has the numbers."""
    reason = find_reason_to_stop(calls, errors)
    assert bool(reason) is stops
    assert not stops or f"{errors} of its last {calls}" in reason


@pytest.mark.parametrize(
    ("champion", "challenger", "overlap"),
    [("abc", "cba", 1.0), ("abcd", "abxy", 0.5), ("ab", "xy", 0.0), ("", "", 1.0), ("ab", "a", 0.5), ("", "a", 0.0)],
)
def test_overlap_is_the_part_that_both_have(champion: str, challenger: str, overlap: float) -> None:
    """In whatever order; of the longer list."""
    assert to_overlap(champion, challenger) == overlap


def test_drift_is_the_difference_of_the_means() -> None:
    """Nothing where there is nothing to compare."""
    assert to_drift((1.0, 2.0), (4.0,)) == 2.5
    assert to_drift((), (4.0,)) == 0.0
