"""How often a job is looked at."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard.core.runs.pacing import ON_THIS_MACHINE, ON_VERTEX, MinuteBudget, Pace, to_interval_s


@pytest.mark.parametrize(
    ("waited_s", "chance", "interval_s"),
    [
        (0, 0.5, 10.0),
        (120, 0.5, 10.0),
        (360, 0.5, 30.0),
        (3600, 0.5, 60.0),
        (0, 0.0, 8.0),
        (360, 0.0, 24.0),
        (3600, 0.999, 60.0),
    ],
)
def test_looks_grow_seldom_up_to_a_minute(waited_s: float, chance: float, interval_s: float) -> None:
    """Every ten seconds in the first two minutes, every minute after twelve; 20 % of jitter, none above the cap."""
    assert to_interval_s(ON_VERTEX, waited_s, chance) == pytest.approx(interval_s)


def test_a_job_on_this_machine_is_looked_at_often() -> None:
    """A short training is not made longer by waiting for it."""
    assert to_interval_s(ON_THIS_MACHINE, 0, 0.5) == 0.25
    assert to_interval_s(ON_THIS_MACHINE, 3600, 0.5) == 2.0


def test_equal_floor_and_cap_keep_the_interval() -> None:
    """An interval that was asked for is never exceeded."""
    assert to_interval_s(Pace(floor_s=5, cap_s=5), 10_000, 0.5) == 5


@settings(deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=30), max_size=200), st.integers(min_value=1, max_value=10))
def test_no_minute_exceeds_its_budget(pauses_s: list[float], a_minute: int) -> None:
    """Wherever the minute begins; and nothing is refused in a minute that holds fewer."""
    budget, taken_s = MinuteBudget(a_minute), list[float]()
    for now_s in accumulate(pauses_s):
        recent = sum(now_s - before_s < 60 for before_s in taken_s)
        assert budget.take(now_s) is (recent < a_minute)
        if recent < a_minute:
            taken_s.append(now_s)
