"""Chooses the numbers of a blend on the validation window, by trying a few values of each: no number is chosen on test.

Deterministic: the same vectors and data give the same numbers, so that a restart ends as a run that nothing stopped.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from trainer.data.splitting import Pairs
from trainer.model.blending import Blend, Numbers
from trainer.model.evaluation import Floats, count_hits

K: Final = 10
CHOICE_PAIRS: Final = 20_000
"""Validation pairs that the choice looks at, at most: what it takes is bounded."""
ROUNDS: Final = 2

PRIOR_GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "half_life": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
    "shift": (0.0, 0.4, 0.7, 1.0, 1.3, 1.6),
    "popularity": (0.0, 0.2, 0.4, 0.6),
}
REPEAT_GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "count": (0.0, 0.4, 0.8, 1.2, 1.6, 2.2, 3.0),
    "bought": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    "recency": (0.0, 0.25, 0.5, 0.8, 1.2),
}


class Judge:
    """How good numbers are on validation pairs, see `measure`; numbers that come again are not measured again."""

    def __init__(self, query: Floats, candidate: Floats, blend: Blend, pairs: Pairs) -> None:
        self._vectors = query, candidate
        self._blend = blend
        self._pairs = pairs
        self._new = blend.past.leave_out_own(pairs)
        self._measured: dict[Numbers, float] = {}
        self._measured_new: dict[tuple[float, ...], float] = {}

    def measure(self, numbers: Numbers) -> float:
        """The sum of the logarithms of recall@10 on all pairs, and on those whose product is new to the buyer among
        what is new: what is good for repeats alone must not win."""
        if numbers not in self._measured:
            self._measured[numbers] = _log(self._recall(self._pairs, numbers)) + self._measure_new(numbers)
        return self._measured[numbers]

    def _measure_new(self, numbers: Numbers) -> float:
        key = (numbers.half_life, numbers.shift, numbers.popularity)  # repeats do not touch what is new
        if key not in self._measured_new:
            found = _log(self._recall(self._new, numbers, is_new=True)) if len(self._new) else 0.0
            self._measured_new[key] = found
        return self._measured_new[key]

    def _recall(self, pairs: Pairs, numbers: Numbers, *, is_new: bool = False) -> float:
        terms = self._blend.replace(numbers).terms
        k = min(K, len(self._vectors[1]))
        return count_hits(*self._vectors, pairs, k, terms.hide_own() if is_new else terms) / len(pairs)


def choose_numbers(query: Floats, candidate: Floats, blend: Blend, pairs: Pairs, *, seed: int) -> Numbers:
    """The best numbers that are found for the terms that `blend` has, on at most CHOICE_PAIRS of the validation
    `pairs`: from the blend's own numbers on, one number at a time, until a round changes nothing, in at most ROUNDS
    rounds. Of equal ones the first stays."""
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:CHOICE_PAIRS]
    judge = Judge(query, candidate, blend, Pairs(pairs.buyers[chosen], pairs.products[chosen]))
    grid = {**(PRIOR_GRID if blend.has_prior else {}), **(REPEAT_GRID if blend.has_repeats else {})}
    return climb(judge.measure, blend.numbers, grid)


def climb(measure: Callable[[Numbers], float], numbers: Numbers, grid: Mapping[str, tuple[float, ...]]) -> Numbers:
    """See `choose_numbers`.

    >>> climb(lambda found: -abs(found.shift - 0.5), Numbers(shift=1.0), {"shift": (0.0, 0.4, 0.8)}).shift
    0.4
    """
    best = measure(numbers)
    for _ in range(ROUNDS):
        before = numbers
        for name, values in grid.items():
            for other in _vary(numbers, name, values):
                if (found := measure(other)) > best:
                    best, numbers = found, other
        if numbers == before:
            break
    return numbers


def _vary(numbers: Numbers, name: str, values: tuple[float, ...]) -> Iterator[Numbers]:
    for value in values:
        changed: dict[str, Any] = {name: value}
        yield msgspec.structs.replace(numbers, **changed)


def _log(recall: float) -> float:
    return float(np.log(max(recall, 1e-9)))  # none found is worst, and still a number that others compare with
