"""Chooses the numbers of a blend on the validation window, by trying a few values of each; never on the test window.

It is deterministic: the same vectors and data give the same numbers, so a restarted run ends as an uninterrupted one.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from trainer.data.splitting import Pairs
from trainer.model.blending import Blend, Numbers
from trainer.model.evaluation import Floats, count_hits

K: Final = 10
CHOICE_PAIRS: Final = 20_000
"""The most validation pairs that the choice looks at."""
CHOICE_SCORES: Final = 200_000_000
"""The most scores (buyers times products) that measuring one set of numbers takes: a few seconds of one core.
One to two hundred sets are measured."""
NEW_PAIRS: Final = 200
"""With fewer pairs that have a product new to the buyer, those are not measured separately: chance would decide."""
ROUNDS: Final = 2

PRIOR_GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "half_life": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
    "shift": (0.0, 0.4, 0.7, 1.0, 1.3, 1.6),
    "popularity": (0.0, 0.2, 0.4, 0.6, 1.0),  # 1: what towers without the logQ correction leave out
}
SCALE_GRID: Final[Mapping[str, tuple[float, ...]]] = {"scale": (0.5, 0.7, 1.4, 2.0)}
"""Factors for all numbers that are added to the cosine, at once: how much the towers count beside them. The temperature
that trains best is not the one that calibrates a softmax, and changing one number alone does not make up for that."""
SECOND_START: Final = Numbers(half_life=0.02, shift=2.2, popularity=1.0, bought=1.5, count=1.7, recency=1.0)
"""A second start of the choice: from a single start it often stops where no single change is better."""
_LOGITS: Final = ("shift", "popularity", "bought", "count", "recency")
REPEAT_GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "count": (0.0, 0.4, 0.8, 1.2, 1.6, 2.2, 3.0),
    "bought": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    "recency": (0.0, 0.25, 0.5, 0.8, 1.2),
}


class Judge:
    """Measures how good numbers are on validation pairs, see `measure`; the same numbers are measured only once.

    Args:
        check: called before each measurement; an exception from it ends the choice.
    """

    def __init__(
        self, query: Floats, candidate: Floats, blend: Blend, pairs: Pairs, *, check: Callable[[], None] = lambda: None
    ) -> None:
        self._vectors = query, candidate
        self._blend = blend
        self._check = check
        self._pairs = pairs
        self._new = blend.past.leave_out_own(pairs)
        self._measured: dict[Numbers, float] = {}
        self._measured_new: dict[tuple[float, ...], float] = {}

    def measure(self, numbers: Numbers) -> float:
        """Returns log(recall@10) on all pairs, plus log(recall@10) on pairs with a product that is new to the buyer.

        The second is ranked only among products that are new to the buyer: numbers that are good only for repeats must
        not win. It is left out if there are fewer than NEW_PAIRS such pairs."""
        if numbers not in self._measured:
            self._measured[numbers] = self._look(self._pairs, numbers) + self._measure_new(numbers)
        return self._measured[numbers]

    def _measure_new(self, numbers: Numbers) -> float:
        key = (numbers.half_life, numbers.shift, numbers.popularity)  # repeats do not change scores of new products
        if key not in self._measured_new:
            is_enough = len(self._new) >= NEW_PAIRS
            self._measured_new[key] = self._look(self._new, numbers, is_new=True) if is_enough else 0.0
        return self._measured_new[key]

    def _look(self, pairs: Pairs, numbers: Numbers, *, is_new: bool = False) -> float:
        """Returns log(recall@10), with one hit and one pair added, so that it is a number even without any hit."""
        self._check()
        terms = self._blend.replace(numbers).terms
        k = min(K, len(self._vectors[1]))
        hits = count_hits(*self._vectors, pairs, k, terms.hide_own() if is_new else terms)
        return math.log((hits + 1) / (len(pairs) + 1))


def choose_numbers(
    query: Floats,
    candidate: Floats,
    blend: Blend,
    pairs: Pairs,
    *,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> Numbers:
    """Returns the best numbers found for the terms that `blend` has, on some of the validation `pairs`.

    `draw_pairs` chooses the pairs. The search starts from the blend's own numbers and from SECOND_START. It changes one
    number at a time, or the scale of all, until a round changes nothing, for at most ROUNDS rounds. Of equally good
    numbers the first are kept. `check`: see `Judge`."""
    judge = Judge(query, candidate, blend, draw_pairs(pairs, products=len(candidate), seed=seed), check=check)
    grid = {**SCALE_GRID, **(PRIOR_GRID if blend.has_prior else {}), **(REPEAT_GRID if blend.has_repeats else {})}
    names = grid.keys() - SCALE_GRID.keys()
    second = msgspec.structs.replace(blend.numbers, **{name: getattr(SECOND_START, name) for name in names})
    return max((climb(judge.measure, start, grid) for start in (blend.numbers, second)), key=judge.measure)


def draw_pairs(pairs: Pairs, *, products: int, seed: int) -> Pairs:
    """Draws at most CHOICE_PAIRS of the pairs; their buyers have at most CHOICE_SCORES scores (at least one buyer).

    The same seed draws the same pairs."""
    drawn = np.random.default_rng(seed).permutation(len(pairs))[:CHOICE_PAIRS]
    buyers = pairs.buyers[drawn]
    _, first, at = np.unique(buyers, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[at]  # each pair's buyer, numbered in the order drawn
    drawn = drawn[place < max(CHOICE_SCORES // products, 1)]
    return Pairs(pairs.buyers[drawn], pairs.products[drawn])


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
        scaled: dict[str, Any] = {other: value * getattr(numbers, other) for other in _LOGITS}
        changed: dict[str, Any] = scaled if name == "scale" else {name: value}
        yield msgspec.structs.replace(numbers, **changed)
