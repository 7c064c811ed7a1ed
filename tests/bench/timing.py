"""Times of several ways to do the same work, taken in turns in one process, as ratios to the first."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Ratio(NamedTuple):
    """A median over rounds, and the ends of its 95 % percentile interval."""

    median: float
    low: float
    high: float

    def to_times(self) -> str:
        """As in "1.50 times (1.45 to 1.55)"."""
        return f"{self.median:.3f} times ({self.low:.3f} to {self.high:.3f})"

    def to_more(self) -> str:
        """As in "+1.50 % (+1.20 % to +1.80 %)"."""
        return f"{self.median - 1:+.2%} ({self.low - 1:+.2%} to {self.high - 1:+.2%})"


class Times(NamedTuple):
    """Of each round, [rounds] seconds by the clock and of processor time in all threads."""

    wall: list[float]
    cpu: list[float]


def time_in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """The times of each way in each round.

    Each round has another order, so that a drift, and what the way before has left in the processor's caches, hit all
    alike. A way must have warmed up.
    """
    times = {name: Times([], []) for name in ways}
    rng = np.random.default_rng(7)
    for _ in range(rounds):
        for name in rng.permutation(list(ways)):
            began = time.perf_counter(), time.process_time()
            ways[str(name)]()
            times[str(name)].wall.append(time.perf_counter() - began[0])
            times[str(name)].cpu.append(time.process_time() - began[1])
    return times


def to_ratio(times: list[float], others: list[float], more: float = 0.0) -> Ratio:
    """Of the paired rounds (times + more) / others."""
    return bootstrap_median([(one + more) / other for one, other in zip(times, others, strict=True)])


def bootstrap_median(values: list[float], draws: int = 2_000) -> Ratio:
    """The median of `values` and its interval."""
    drawn = np.random.default_rng(7).choice(values, size=(draws, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Ratio(statistics.median(values), float(low), float(high))
