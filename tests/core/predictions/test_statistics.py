"""Rates with intervals, by version and arm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import Kind
from switchyard.core.predictions.rows import Counts, Said, Traffic, Unmatched, Window
from switchyard.core.predictions.statistics import Z, to_rate, to_statistics

WINDOW = Window(model="shop")


@given(st.integers(1, 10**6).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole))))
def test_ends_of_the_interval_solve_wilsons_equation(counts: tuple[int, int]) -> None:
    """Each is the rate from which the one that was found is Z standard deviations away."""
    part, whole = counts
    rate = to_rate(part, whole)
    for end in (rate.low, rate.high):
        away, deviation = abs(rate.rate - end), (end * (1 - end) / whole) ** 0.5
        assert away == pytest.approx(Z * deviation, rel=1e-6, abs=1e-9)


@given(st.integers(1, 10**12).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole))))
def test_interval_holds_the_rate_within_0_and_1(counts: tuple[int, int]) -> None:
    """For few and for many."""
    rate = to_rate(*counts)
    assert 0 <= rate.low <= rate.rate <= rate.high <= 1


def said(version: int, arm: Arm, kind: Kind, predictions: int, feedback: int, **more: float) -> Said:
    return Said(version=version, arm=arm, kind=kind, predictions=predictions, feedback=feedback, **more)  # type: ignore[arg-type]


def test_statistics_are_by_version_and_arm() -> None:
    """A rate is of the predictions that are there; what is said of removed ones is counted, and is in no rate."""
    champion, challenger = Arm.CHAMPION, Arm.CHALLENGER
    counts = Counts(
        traffic=(
            Traffic(version=3, arm=champion, predictions=100, fallbacks=0),
            Traffic(version=3, arm=challenger, predictions=2, fallbacks=2),
            Traffic(version=4, arm=challenger, predictions=10, fallbacks=0),
        ),
        said=(
            said(3, champion, Kind.RATING, 2, 3, values=3, total=9.0),
            said(3, champion, Kind.CLICK, 50, 60),
            said(4, challenger, Kind.CLICK, 1, 1),
        ),
        said_of_removed=(
            said(3, champion, Kind.CLICK, 0, 5),
            said(2, champion, Kind.LIKE, 0, 7),
        ),
        unmatched=(Unmatched(kind=Kind.LIKE, waiting=1, never=2), Unmatched(kind=Kind.CLICK, waiting=0, never=1)),
    )
    found = to_statistics(WINDOW, counts)
    assert [(one.version, one.arm, one.predictions, one.fallbacks) for one in found.arms] == [
        (4, challenger, 10, 0),
        (3, challenger, 2, 2),
        (3, champion, 100, 0),
        (2, champion, 0, 0),
    ]
    clicks, ratings = found.arms[2].kinds
    assert (clicks.kind, clicks.predictions, clicks.feedback, clicks.of_removed) == (Kind.CLICK, 50, 65, 5)
    assert clicks.rate is not None and clicks.rate == to_rate(50, 100)
    assert (ratings.kind, ratings.values, ratings.mean_value) == (Kind.RATING, 3, 3.0)
    (likes,) = found.arms[3].kinds
    assert (likes.rate, likes.feedback, likes.of_removed, likes.mean_value) == (None, 7, 7, None)
    assert found.arms[0].kinds[0].rate == to_rate(1, 10)
    assert [one.kind for one in found.unmatched] == [Kind.CLICK, Kind.LIKE]
    assert "Wilson" in found.interval


def test_row_that_comes_between_two_counts_makes_no_rate_above_1() -> None:
    """The two are counted one after the other."""
    counts = Counts(
        traffic=(Traffic(version=3, arm=Arm.CHAMPION, predictions=1, fallbacks=0),),
        said=(said(3, Arm.CHAMPION, Kind.CLICK, 2, 2),),
        said_of_removed=(),
        unmatched=(),
    )
    ((kind,),) = (arm.kinds for arm in to_statistics(WINDOW, counts).arms)
    assert kind.rate == to_rate(2, 2)


def test_nothing_has_no_statistics() -> None:
    """No division by nothing."""
    assert to_statistics(WINDOW, Counts(traffic=(), said=(), said_of_removed=(), unmatched=())).arms == ()
