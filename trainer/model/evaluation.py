"""How good the answers are: recall@k of held-out purchases, for the model and for popularity on the same pairs."""

from collections.abc import Iterable
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
    products = candidate.shape[0]
    ranks = np.empty(len(pairs), np.int64)
    order = np.argsort(pairs.buyers, kind="stable")
    buyers, begins = np.unique(pairs.buyers[order], return_index=True)
    ends = np.append(begins[1:], len(order))
    chunk_buyers = max(1, CHUNK_VALUES // products)
    for first in range(0, len(buyers), chunk_buyers):
        chunk = slice(first, first + chunk_buyers)
        chunk_scores = query[buyers[chunk]] @ candidate.T
        if terms is not None:
            terms.add_to(chunk_scores, buyers[chunk])
        for scores, begin, end in zip(chunk_scores, begins[chunk], ends[chunk], strict=True):
            for row in order[begin:end]:
                ranks[row] = _rank(scores, pairs.products[row])
    return ranks


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
