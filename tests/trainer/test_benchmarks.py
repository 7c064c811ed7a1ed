"""The benchmarks of the training, on tables so small that they take seconds: that they run, not what they find."""

import re

import pytest

from tests.bench.purchases import Shape
from tests.bench.statistics import measure_time
from tests.bench.step import measure

TINY = Shape(buyers=30, products=20, epoch_steps=40, batch=8, dim=4)


def test_the_benchmark_of_statistics_has_a_control() -> None:
    """Time by the clock and of the processor, with an epoch's end and without it, and of off against off."""
    found = measure_time(TINY, rounds=2)
    assert set(found) == {f"{what} {clock}" for what in ("overhead", "steps", "control") for clock in ("wall", "cpu")}
    assert all(0 < ratio.low <= ratio.median <= ratio.high for ratio in found.values())


def test_the_benchmark_of_the_step_ends_in_the_references_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """After as many steps all have the same mean loss and norms; the control exactly, the others up to rounding."""
    found = measure(TINY, rounds=2)
    numbers = [str(found[f"{name}_numbers"]) for name in ("reference", "control", "distinct", "shipped")]
    assert numbers[0] == numbers[1]
    assert numbers[2] == numbers[3]
    for one in numbers[2:]:
        assert to_floats(one) == pytest.approx(to_floats(numbers[0]), rel=1e-5)
    assert "faster by the clock" in capsys.readouterr().out


def to_floats(said: str) -> list[float]:
    """The loss and both norms."""
    found = [float(one) for one in re.findall(r"\d+\.\d+", said)]
    assert len(found) == 3
    return found
