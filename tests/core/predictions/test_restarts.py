"""When a model whose process ended is loaded again."""

import pytest

from switchyard.core.predictions.restarts import Life, end, load


@pytest.mark.parametrize(
    ("lived_s", "pauses"),
    [
        ([1.0] * 8, [0, 2, 4, 8, 16, 32, 60, 60]),
        ([1.0, 1.0, 60.0, 1.0], [0, 2, 0, 2]),  # one that lived for a minute starts again
        ([3600.0, 3600.0], [0, 0]),
    ],
)
def test_pauses_grow_while_processes_end_early_and_have_a_bound(lived_s: list[float], pauses: list[float]) -> None:
    """The first end has none."""
    life, now, found = None, 100.0, []
    for lived in lived_s:
        life = end(load(life, now=now), now=now + lived)
        found.append(life.not_before - (now + lived))
        now = life.not_before
    assert found == pauses


def test_one_end_counts_once() -> None:
    """However often it is seen."""
    once = end(Life(loaded_at=0.0, ends=3), now=1.0)
    assert end(once, now=50.0) == once
