"""Answers with the two-tower model without TensorFlow: both towers' vectors from Parquet, and numpy.

``embeddings/query.parquet`` and ``embeddings/candidate.parquet``, as `trainer.model.export` writes them: the score of a
product is the product of the two vectors. Where there is a ``score/`` (docs/predict.md), it is

    weights.cosine * cosine + weights.prior * prior of the product + a term for a product that the buyer bought before

A buyer who is not in the query tower gets popular products; `TwoTower.popularity` says which measure is used.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from switchyard.clients.scoring.embeddings import Floats, Tower, read_tower
from switchyard.clients.scoring.exported_products import find_other_products
from switchyard.clients.scoring.score_files import Purchases, Score, read_score
from switchyard.core.errors import BadRecord, BadRequest
from switchyard.core.predictions.answers import Recommendation

Places = npt.NDArray[np.intp]
"""Positions of products in `TwoTower.products`."""

MAX_SCORE: Final = 1e38
"""What a float32 holds, with room for rounding."""
_NONE: Final = np.empty(0, np.intp)
_STRIDE: Final = 16
"""One product of as many is in the sample."""
_SPARE: Final = 8
"""The sample has more than twice as many as are asked for: by chance it may hold few of the best."""
_SPARSE: Final = 20
"""Where more than one product of as many is asked for, a sample saves nothing."""


class TwoTower:
    """Implements `core.ports.Recommender`. It never changes after it is made, so any number of threads may ask it."""

    def __init__(self, query: Tower, candidate: Tower, score: Score) -> None:
        self.products: Sequence[str] = candidate.ids
        self.has_purchases = score.purchases is not None
        self._ids: npt.NDArray[np.object_] = np.array(candidate.ids, object)
        self._places: Mapping[str, int] = candidate.places
        self._buyers: Mapping[str, int] = query.places
        # Weighted once, here: an answer is then one product, and with a prior one sum.
        self._query = query.vectors if score.cosine == 1.0 else query.vectors * np.float32(score.cosine)
        # [dim, products]: each number of a buyer then meets one long row. That is a third faster where the matrix is
        # larger than the processor's cache, and no slower where it is not.
        self._candidate: Floats = np.ascontiguousarray(candidate.vectors.T)
        self._prior = score.prior * np.float32(score.prior_weight) if score.prior is not None else None
        self._purchases = score.purchases
        self.popularity, popular = _rank(query, candidate, score)
        self._popular: Places = np.argsort(-popular, kind="stable")
        self._popular_scores: Floats = popular

    def __repr__(self) -> str:
        return f"TwoTower({len(self._buyers):,} buyers, {len(self.products):,} products)"

    def list_buyers(self, limit: int) -> Sequence[str]:
        """See the port. Returns the first ones of the file."""
        return list(islice(self._buyers, limit))

    def knows(self, buyer_id: str) -> bool:
        """See the port."""
        return buyer_id in self._buyers

    def recommend(
        self, buyer_id: str, k: int, *, only: frozenset[str] | None = None, without_bought: bool = False
    ) -> Recommendation:
        """See the port."""
        if k < 1:
            raise BadRequest(f"k must be at least 1; got {k}")
        if without_bought and self._purchases is None:
            raise BadRequest(
                "this model was exported without purchases (score/purchases.parquet), so what a buyer bought is not "
                "known. Leave without_bought out, or train and register a model that has them"
            )
        own = self._purchases.find(buyer_id) if self._purchases is not None else slice(0, 0)
        bought = self._purchases.places[own] if without_bought and self._purchases is not None else _NONE
        place = self._buyers.get(buyer_id)
        if place is None:
            return self._to_answer(*self._find_popular(k, only, bought), known=False)
        scores: Floats = self._query[place] @ self._candidate
        if self._prior is not None:
            scores += self._prior
        if self._purchases is not None and self._purchases.repeats is not None:
            scores[self._purchases.places[own]] += self._purchases.repeats[own]  # each product of a buyer is there once
        return self._to_answer(*self._find_best(scores, k, only, bought), known=True)

    def _find_best(self, scores: Floats, k: int, only: frozenset[str] | None, bought: Places) -> tuple[Places, Floats]:
        if only is None and not bought.size:
            return _take_best(scores, k)
        allowed = self._allow(only, bought)
        best, chosen = _take_best(scores[allowed], k)
        return allowed[best], chosen

    def _find_popular(self, k: int, only: frozenset[str] | None, bought: Places) -> tuple[Places, Floats]:
        ranked = self._popular
        if only is not None or bought.size:
            kept = np.zeros(len(self.products), bool)
            kept[self._allow(only, bought)] = True
            ranked = ranked[kept[ranked]]
        ranked = ranked[:k]
        return ranked, self._popular_scores[ranked]

    def _allow(self, only: frozenset[str] | None, bought: Places) -> Places:
        """Returns the places that are left, in order."""
        kept = np.full(len(self.products), only is None)
        if only is not None:
            kept[[self._places[product] for product in only if product in self._places]] = True
        kept[bought] = False
        return np.flatnonzero(kept)

    def _to_answer(self, places: Places, scores: Floats, *, known: bool) -> Recommendation:
        return Recommendation(product_ids=tuple(self._ids[places]), scores=tuple(scores.tolist()), known=known)


def open_two_tower(folder: Path) -> TwoTower:
    """Opens the model in `folder`. Raises: BadRecord: a file is missing, or not what its format says; all problems."""
    problems: list[str] = []
    query = read_tower(folder, "embeddings/query.parquet", "buyer", problems)
    candidate = read_tower(folder, "embeddings/candidate.parquet", "product", problems)
    if query is not None and candidate is not None and query.dim != candidate.dim:
        problems.append(f"both towers must have one dimension; query has {query.dim}, candidate has {candidate.dim}")
    score = read_score(folder, candidate, problems) if candidate is not None else Score()
    if candidate is not None:
        find_other_products(folder, candidate.ids, problems)
    if query is not None and candidate is not None:
        _find_too_large(query, candidate, score, problems)
    if problems or query is None or candidate is None:
        raise BadRecord(f"the two-tower model in {folder}", problems)
    return TwoTower(query, candidate, score)


def _find_too_large(query: Tower, candidate: Tower, score: Score, problems: list[str]) -> None:
    """Adds to `problems` where finite vectors may have an infinite product.

    Only few buyers are tried before a model answers all of them. The bound holds for every pair, and for every sum on
    the way."""
    largest = _measure(query.vectors) * max(1.0, abs(score.cosine)) * _measure(candidate.vectors) * candidate.dim
    if score.prior is not None:
        largest += _measure(score.prior) * max(1.0, abs(score.prior_weight))
    if score.purchases is not None and score.purchases.repeats is not None:
        largest += _measure(score.purchases.repeats)
    if largest > MAX_SCORE:
        problems.append(
            f"the numbers are so large that a score may be infinite: up to {largest:.1e}, and a score is at most "
            f"{MAX_SCORE:.1e}"
        )


def _measure(numbers: Floats) -> float:
    return max(1.0, float(numbers.max()), -float(numbers.min()))


def _rank(query: Tower, candidate: Tower, score: Score) -> tuple[str, Floats]:
    """Returns the measure by which products are popular, and each one's value: the best that the export knows."""
    if score.shares is not None:
        return "recent purchases", score.shares
    if score.prior is not None:
        return "prior", score.prior
    if score.purchases is not None and score.purchases.counts.sum() > 0:
        return "purchases", _to_shares(score.purchases)
    # Nothing says what sells: what is near the middle of all buyers suits most of them.
    middle = query.vectors.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(middle))
    nearness: Floats = candidate.vectors @ (middle / (length or 1.0)).astype(np.float32)
    return "mean buyer", nearness


def _to_shares(purchases: Purchases) -> Floats:
    shares: Floats = (purchases.counts / purchases.counts.sum()).astype(np.float32)
    return shares


def _take_best(scores: Floats, k: int) -> tuple[Places, Floats]:
    """Returns the places of the `k` highest, best first. Equal ones go by their place, as in the trainer's evaluation.

    That also decides which of equal ones are left out. A sample says what a high score is, and only what is that high
    is
    sorted: half the time of partitioning all. The answer is always exact: where fewer than `k` are that high, all are
    partitioned.
    """
    count = len(scores)
    near: Places | None = None
    if k < count // _SPARSE:
        sample = scores[::_STRIDE]
        rank = len(sample) - (2 * k // _STRIDE + _SPARE)
        near = np.flatnonzero(scores >= np.partition(sample, rank)[rank])
    if near is None or len(near) < k:
        near = np.flatnonzero(scores >= np.partition(scores, count - k)[count - k]) if k < count else np.arange(count)
    best = near[np.argsort(-scores[near], kind="stable")[:k]]
    return best, scores[best]
