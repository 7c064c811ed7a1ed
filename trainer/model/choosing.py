"""Chooses the numbers of a blend on the validation window, by trying a few values of each: no number is chosen on test.

Deterministic: the same vectors and data give the same numbers, so that a restart ends as a run that nothing stopped.
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
"""Validation pairs that the choice looks at, at most."""
CHOICE_SCORES: Final = 200_000_000
"""Scores (buyers times products) that one look at them takes, at most: some seconds of one core.
There are one to two hundred looks."""
NEW_PAIRS: Final = 200
"""With fewer pairs whose product is new to the buyer, those do not count apart: chance would choose."""
ROUNDS: Final = 2

PRIOR_GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "half_life": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
    "shift": (0.0, 0.4, 0.7, 1.0, 1.3, 1.6),
    "popularity": (0.0, 0.2, 0.4, 0.6, 1.0),  # 1: what towers without the logQ correction leave out
}
SCALE_GRID: Final[Mapping[str, tuple[float, ...]]] = {"scale": (0.5, 0.7, 1.4, 2.0)}
"""Factors of all numbers that are added to the cosine, at once: how far the towers are to be believed beside them. The
temperature that trains best is not the one at which a softmax is calibrated, and no number alone leads there."""
SECOND_START: Final = Numbers(half_life=0.02, shift=2.2, popularity=1.0, bought=1.5, count=1.7, recency=1.0)
"""Where the choice begins once more: from one beginning it often stops where no single step is better."""
_LOGITS: Final = ("shift", "popularity", "bought", "count", "recency")
REPEAT_GRID: Final[Mapping[str, tuple[float, ...]]] = {
    "count": (0.0, 0.4, 0.8, 1.2, 1.6, 2.2, 3.0),
    "bought": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    "recency": (0.0, 0.25, 0.5, 0.8, 1.2),
}


class Judge:
    """How good numbers are on validation pairs, see `measure`; numbers that come again are not measured again.

    Args:
        check: is called before each look; what it raises ends the choice.
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
        """The sum of the logarithms of recall@10 on all pairs, and on those whose product is new to the buyer among
        what is new: what is good for repeats alone must not win. The latter only where there are NEW_PAIRS of them."""
        if numbers not in self._measured:
            self._measured[numbers] = self._look(self._pairs, numbers) + self._measure_new(numbers)
        return self._measured[numbers]

    def _measure_new(self, numbers: Numbers) -> float:
        key = (numbers.half_life, numbers.shift, numbers.popularity)  # repeats do not touch what is new
        if key not in self._measured_new:
            is_enough = len(self._new) >= NEW_PAIRS
            self._measured_new[key] = self._look(self._new, numbers, is_new=True) if is_enough else 0.0
        return self._measured_new[key]

    def _look(self, pairs: Pairs, numbers: Numbers, *, is_new: bool = False) -> float:
        """The logarithm of recall@10, with one hit and one pair more: none found is worst, and still a number."""
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
    """The best numbers that are found for the terms that `blend` has, on some of the validation `pairs`, see
    `draw_pairs`: from the blend's own numbers on, and from SECOND_START, one number at a time or the scale of all,
    until a round changes nothing, in at most ROUNDS rounds. Of equal ones the first stays. `check`: see `Judge`."""
    judge = Judge(query, candidate, blend, draw_pairs(pairs, products=len(candidate), seed=seed), check=check)
    grid = {**SCALE_GRID, **(PRIOR_GRID if blend.has_prior else {}), **(REPEAT_GRID if blend.has_repeats else {})}
    names = grid.keys() - SCALE_GRID.keys()
    second = msgspec.structs.replace(blend.numbers, **{name: getattr(SECOND_START, name) for name in names})
    return max((climb(judge.measure, start, grid) for start in (blend.numbers, second)), key=judge.measure)


def draw_pairs(pairs: Pairs, *, products: int, seed: int) -> Pairs:
    """At most CHOICE_PAIRS of the pairs, of so many buyers that they have at most CHOICE_SCORES scores (of one buyer at
    least). The same seed draws the same ones."""
    drawn = np.random.default_rng(seed).permutation(len(pairs))[:CHOICE_PAIRS]
    buyers = pairs.buyers[drawn]
    _, first, at = np.unique(buyers, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[at]  # of each pair's buyer among the buyers, in the order drawn
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
