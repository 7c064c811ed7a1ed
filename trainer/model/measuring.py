"""Recall, NDCG and coverage of anything that scores products, with the bounds of a bootstrap over buyers.

Each contender takes one pass over the measured buyers. Their scores are computed once, a few buyers at a time, and give
the ranks among all products and among those that are new to the buyer. Only a few sums are kept for each buyer; the
bootstrap draws from them. Pure numpy.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from switchyard.core.metrics.evaluation import NDCG_K, RECALL_KS
from trainer.data.splitting import Pairs
from trainer.model import evaluation
from trainer.model.blending import Past

DRAWS: Final = 1_000
CONFIDENCE: Final = 0.95
_CHUNK_VALUES: Final = 1 << 22  # values of the bootstrap's draws that are held at once

Floats = npt.NDArray[np.floating[Any]]
Sums = dict[tuple[str, str], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
"""What each buyer adds to the numerator and to the denominator, [buyers] each, by slice and metric."""


class Scorer(Protocol):
    """Anything that says how good each product is for a buyer."""

    def score(self, buyers: npt.NDArray[Any]) -> Floats:
        """Returns scores [buyers, products], a new array; the highest is answered first."""


@dataclass(frozen=True)
class Window:
    """The held-out pairs that are measured, in the order of their buyers.

    Those of buyer ``buyers[i]`` are ``products[starts[i]:starts[i + 1]]``.

    Attributes:
        is_new: for each entry of `products`, whether the buyer did not buy it in the train rows.
    """

    past: Past
    catalogue: int
    buyers: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    products: npt.NDArray[np.int64]
    is_new: npt.NDArray[np.bool_]

    def list_own(self, buyer: int) -> npt.NDArray[np.int32]:
        """Returns what the buyer bought in the train rows, each product once, rising."""
        found: npt.NDArray[np.int32] = self.past.places[self.past.starts[buyer] : self.past.starts[buyer + 1]]
        return found


def open_window(pairs: Pairs, past: Past, *, products: int, seed: int, most_scores: int) -> Window:
    """Returns the pairs of all buyers, or of as many as keep one pass within `most_scores` scores.

    At least one buyer is taken. The same seed draws the same buyers.
    """
    distinct = np.unique(pairs.buyers).astype(np.int64)
    most = max(most_scores // products, 1)
    if len(distinct) > most:
        distinct = np.sort(np.random.default_rng(seed).permutation(distinct)[:most])
    rows = np.flatnonzero(np.isin(pairs.buyers, distinct))
    rows = rows[np.argsort(pairs.buyers[rows], kind="stable")]
    buyers, bought = pairs.buyers[rows], pairs.products[rows].astype(np.int64)
    owners = np.repeat(np.arange(len(past.starts) - 1), np.diff(past.starts))
    is_new = ~np.isin(buyers * np.int64(products) + bought, owners * np.int64(products) + past.places)
    return Window(
        past, products, distinct, np.searchsorted(buyers, np.append(distinct, distinct[-1] + 1)), bought, is_new
    )


@dataclass(frozen=True)
class Ranks:
    """Ranks of the window's pairs among all products, and among products new to the buyer; 0 is the best.

    The ranks among new products hold only for pairs that are new. `covered` is how many products are among the first
    NDCG_K of at least one buyer."""

    every: npt.NDArray[np.int64]
    new: npt.NDArray[np.int64]
    covered: int


def rank(scorer: Scorer, window: Window, check: Callable[[], None] = lambda: None) -> Ranks:
    """Returns the ranks, with ties and nan treated as in `trainer.model.evaluation.rank_by_model`.

    Of equal scores, the product that comes earlier in the catalogue is above; nan ranks last. `check` is called before
    each chunk; an exception from it ends the ranking.
    """
    every, new = np.empty(len(window.products), np.int64), np.empty(len(window.products), np.int64)
    shown = np.zeros(window.catalogue, bool)
    first = min(NDCG_K, window.catalogue)
    step = max(1, evaluation.CHUNK_VALUES // window.catalogue)
    for begin in range(0, len(window.buyers), step):
        check()
        chunk = window.buyers[begin : begin + step]
        scores = scorer.score(chunk)
        ordered = np.sort(scores, axis=1)  # nan comes last, as if it were above all
        for row, buyer in enumerate(chunk):
            at = slice(window.starts[begin + row], window.starts[begin + row + 1])
            products = window.products[at]
            every[at], new[at] = _rank_row(scores[row], ordered[row], products, window.list_own(buyer))
            _mark_first(scores[row], ordered[row][-first], first, shown)
    return Ranks(every, new, int(shown.sum()))


def _rank_row(
    scores: Floats, ordered: Floats, products: npt.NDArray[np.int64], own: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns one buyer's ranks; among new products, the buyer's own products above are subtracted."""
    found = scores[products]
    every = _count_above(ordered, found, products, lambda product: scores[:product], itself=1)
    theirs = scores[own]
    above = _count_above(np.sort(theirs), found, products, lambda product: theirs[: np.searchsorted(own, product)])
    lost = np.isnan(found)
    last = len(scores) - 1
    return np.where(lost, last, every), np.where(lost, last - len(own), every - above)


def _count_above(
    ordered: Floats,
    found: Floats,
    products: npt.NDArray[np.int64],
    earlier: Callable[[int], Floats],
    *,
    itself: int = 0,
) -> npt.NDArray[np.int64]:
    """Returns how many of `ordered` are above each of `found`; equal ones count if `earlier` in the catalogue.

    `itself` is how many of the equal ones are the product itself."""
    left, right = np.searchsorted(ordered, found, side="left"), np.searchsorted(ordered, found, side="right")
    above = (len(ordered) - right).astype(np.int64)
    for one in np.flatnonzero(right > left + itself):
        above[one] += np.count_nonzero(earlier(int(products[one])) == found[one])
    return above


def _mark_first(scores: Floats, limit: Any, count: int, shown: npt.NDArray[np.bool_]) -> None:
    """Marks the `count` best products as shown; `limit` is the score of the last of them."""
    if np.isnan(limit):
        return  # products without a score are no answer
    best = np.flatnonzero(scores >= limit)
    if len(best) > count:
        equal = np.flatnonzero(scores == limit)
        above = best[scores[best] > limit]
        best = np.concatenate([above, equal[: count - len(above)]])
    shown[best] = True


def to_sums(ranks: Ranks, window: Window, groups: Mapping[str, npt.NDArray[np.bool_]]) -> Sums:
    """Returns what each buyer adds; `groups` says by name which of the window's buyers are in a group."""
    at = np.repeat(np.arange(len(window.buyers)), np.diff(window.starts))
    new = window.is_new
    every = dict(_sum_slice(ranks.every, at, len(window.buyers), window.catalogue))
    fresh = dict(_sum_slice(ranks.new[new], at[new], len(window.buyers), window.catalogue))
    sums: Sums = {("all", metric): pair for metric, pair in every.items()}
    sums |= {("new", metric): pair for metric, pair in fresh.items()}
    for name, chosen in groups.items():
        sums |= {(name, metric): (above * chosen, below * chosen) for metric, (above, below) in every.items()}
    return sums


def _sum_slice(
    ranks: npt.NDArray[np.int64], at: npt.NDArray[np.int64], buyers: int, catalogue: int
) -> Iterator[tuple[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]]:
    """Returns the sums of one slice: recall counts each pair once, binary NDCG counts each buyer once.

    The gain of rank r is 1 / log2(r + 2), and the best that the buyer's pairs could reach is 1. Source: Järvelin and
    Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20, 2002."""
    pairs = np.bincount(at, minlength=buyers).astype(np.float64)
    for k in RECALL_KS:
        if k <= catalogue:
            yield f"recall_at_{k}", (np.bincount(at[ranks < k], minlength=buyers).astype(np.float64), pairs)
    if catalogue >= NDCG_K:
        gains = np.where(ranks < NDCG_K, 1 / np.log2(ranks + 2.0), 0.0)
        ideal = np.concatenate([[1.0], np.cumsum(1 / np.log2(np.arange(NDCG_K) + 2.0))])
        best = ideal[np.minimum(pairs, NDCG_K).astype(np.int64)]
        has = (pairs > 0).astype(np.float64)
        yield f"ndcg_at_{NDCG_K}", (np.bincount(at, gains, minlength=buyers) / best * has, has)


def draw(sums: Sums, *, buyers: int, seed: int) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
    """Returns the figures, [1 + DRAWS]: first of all buyers, then of as many buyers drawn with replacement.

    The same seed draws the same buyers, so that two contenders' draws can be compared one by one. A draw without a pair
    is nan.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3 (percentile intervals).
    """
    keys = [key for key, (_, below) in sums.items() if below.any()]
    if not keys:
        return {}
    columns = np.stack([part for key in keys for part in sums[key]], axis=1)  # [buyers, 2 * keys]
    rng = np.random.default_rng(seed)
    found = [columns.sum(axis=0, keepdims=True)]
    step = max(1, _CHUNK_VALUES // buyers)
    for begin in range(0, DRAWS, step):
        count = min(step, DRAWS - begin)
        drawn = rng.integers(0, buyers, (count, buyers)) + np.arange(count)[:, None] * buyers
        weights = np.bincount(drawn.ravel(), minlength=count * buyers).reshape(count, buyers)
        found.append(weights.astype(np.float64) @ columns)
    totals = np.concatenate(found)
    with np.errstate(invalid="ignore"):
        values = totals[:, 0::2] / totals[:, 1::2]
    return {key: values[:, place] for place, key in enumerate(keys)}


def to_bounds(draws: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Returns the bounds that hold the middle CONFIDENCE of the draws; draws that are nan do not count."""
    known = draws[~np.isnan(draws)]
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
