"""Measures recall@k of held-out purchases, for the model and for popularity on the same pairs."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from trainer.data.splitting import Pairs
from trainer.model.blending import Terms

RECALL_KS = (5, 10, 50, 100)
CHUNK_VALUES = 1 << 22  # most [buyers, products] scores held at once: 16 MB, or one buyer's if more

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def rank_by_model(
    query: Floats, candidate: Floats, pairs: Pairs, terms: Terms | None = None
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns how many products score above the bought one, [pairs]; 0 is the best.

    A score is the product of the vectors of a buyer [buyers, dim] and a product [products, dim], plus what `terms` add.

    Products with an equal score count as above if they come earlier in the catalogue: a model that gives all products
    the same score must not look perfect. The same holds for a model with nan in its vectors: a pair with a score of nan
    ranks last, and any other product with a score of nan counts as above.

    A buyer's scores are computed once, however many pairs the buyer has, and at most CHUNK_VALUES scores are held at
    once. Memory does not grow with the pairs; it grows with the products only if there are more than CHUNK_VALUES.
    """
    ranks = np.empty(len(pairs), np.int64)
    for scores, rows, at in _score_buyers(query, candidate, pairs, terms):
        for row, place in zip(rows, at, strict=True):
            ranks[row] = _rank(scores[place], pairs.products[row])
    return ranks


def count_hits(query: Floats, candidate: Floats, pairs: Pairs, k: int, terms: Terms | None = None) -> int:
    """Returns how many of the pairs have a rank below k, ranked as in `rank_by_model`, at less cost.

    k is at most the number of products. A buyer's k-th best score is found once, and only scores equal to it are
    ranked. A score of nan is never a hit."""
    hits = 0
    for scores, rows, at in _score_buyers(query, candidate, pairs, terms):
        # nan sorts as the largest, so it counts as above here too.
        limits = np.partition(scores, scores.shape[1] - k, axis=1)[at, -k]
        products = pairs.products[rows]
        own = scores[at, products]
        hits += int(np.count_nonzero(own > limits))
        for one in np.flatnonzero(own == limits):
            hits += _rank(scores[at[one]], products[one]) < k
    return hits


def _score_buyers(
    query: Floats, candidate: Floats, pairs: Pairs, terms: Terms | None
) -> Iterator[tuple[Floats, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Yields a few buyers' scores [buyers, products] at a time, their pairs [n], and each pair's row of scores [n]."""
    order = np.argsort(pairs.buyers, kind="stable")
    buyers, begins = np.unique(pairs.buyers[order], return_index=True)
    ends = np.append(begins[1:], len(order))
    chunk_buyers = max(1, CHUNK_VALUES // candidate.shape[0])
    for first in range(0, len(buyers), chunk_buyers):
        chunk = slice(first, first + chunk_buyers)
        scores = query[buyers[chunk]] @ candidate.T
        if terms is not None:
            terms.add_to(scores, buyers[chunk])
        lengths = ends[chunk] - begins[chunk]
        yield scores, order[begins[first] : begins[first] + lengths.sum()], np.repeat(np.arange(len(lengths)), lengths)


def _rank(scores: Floats, product: int) -> int:
    """Returns the rank of one product by one buyer's `scores` [products]."""
    own = scores[product]
    if np.isnan(own):
        return len(scores) - 1
    # Not `scores > own`: nan is neither above nor below, and must not count as below.
    not_above = np.count_nonzero(scores <= own)
    return int(len(scores) - not_above + np.count_nonzero(scores[:product] == own))


def rank_by_popularity(product_counts: np.ndarray[Any, Any], pairs: Pairs) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns the same ranks as if every buyer were answered the most bought products of the train rows."""
    order = np.argsort(-product_counts, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[pairs.products]


def to_recalls(ranks: np.ndarray[Any, Any], products: int, ks: Iterable[int] = RECALL_KS) -> dict[int, float]:
    """Returns the share of held-out pairs with a product among the first k, for each k that the catalogue can fill.

    Each pair counts once, so a buyer with many held-out products counts as many times (it is no mean over buyers).
    """
    return {k: float((ranks < k).mean()) for k in ks if k <= products}
