"""How good the answers are: recall@k of held-out purchases, for the model and for popularity on the same pairs."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from trainer.data.splitting import Pairs
from trainer.model.blending import Terms

RECALL_KS = (5, 10, 50, 100)
CHUNK_VALUES = 1 << 22  # bounds the [buyers, products] scores that are held at once: 16 MB, or one buyer's

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def rank_by_model(
    query: Floats, candidate: Floats, pairs: Pairs, terms: Terms | None = None
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many products score above the bought one, [pairs]; 0 is the best. Vectors [buyers, dim], [products, dim].
    A score is their product, and what `terms` add to it.

    Products with an equal score count as above when they come earlier in the catalogue: a model that gives all products
    one score must not look perfect. Nor must one whose vectors hold nan: a pair whose score is no number ranks last,
    and any other product whose score is none counts as above.

    A buyer's scores are computed once, whatever the number of its pairs, and CHUNK_VALUES of them are held at once:
    memory does not grow with the pairs, and with the products only beyond so many.
    """
    ranks = np.empty(len(pairs), np.int64)
    for scores, rows, at in _score_buyers(query, candidate, pairs, terms):
        for row, place in zip(rows, at, strict=True):
            ranks[row] = _rank(scores[place], pairs.products[row])
    return ranks


def count_hits(query: Floats, candidate: Floats, pairs: Pairs, k: int, terms: Terms | None = None) -> int:
    """How many of the pairs have a rank below k, which is at most the number of products: as `rank_by_model` says, at
    less cost. A buyer's k-th best score is found once; only what equals it is ranked. A score of nan is no hit,
    whatever k is."""
    hits = 0
    for scores, rows, at in _score_buyers(query, candidate, pairs, terms):
        # nan sorts as the largest, so that it counts as above here too.
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
    """Some buyers' scores [buyers, products] at a time, which of the pairs are theirs [n], and in which row [n]."""
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
    """The rank of one product by one buyer's `scores` [products]."""
    own = scores[product]
    if np.isnan(own):
        return len(scores) - 1
    # Not "above the own": nan is neither above nor below, and must not count as below.
    not_above = np.count_nonzero(scores <= own)
    return int(len(scores) - not_above + np.count_nonzero(scores[:product] == own))


def rank_by_popularity(product_counts: np.ndarray[Any, Any], pairs: Pairs) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The same ranks if every buyer were answered the most bought products of the train rows."""
    order = np.argsort(-product_counts, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[pairs.products]


def to_recalls(ranks: np.ndarray[Any, Any], products: int, ks: Iterable[int] = RECALL_KS) -> dict[int, float]:
    """The share of held-out pairs whose product is among the first k, for each k that the catalogue can fill.

    One pair is one trial; a buyer with many held-out products counts as often (not a mean over buyers).
    """
    return {k: float((ranks < k).mean()) for k in ks if k <= products}
