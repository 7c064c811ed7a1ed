"""How good the answers are: recall@k of held-out purchases, for the model and for popularity on the same pairs."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from trainer.data.splitting import Pairs

RECALL_KS = (5, 10, 50, 100)
CHUNK_PAIRS = 1024  # bounds the [pairs, products] scores that are held at once

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def rank_by_model(query: Floats, candidate: Floats, pairs: Pairs) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many products score above the bought one, [pairs]; 0 is the best. Vectors [buyers, dim], [products, dim].

    Products with an equal score count as above when they come earlier in the catalogue: a model that gives all products
    one score must not look perfect.
    """
    ranks = np.empty(len(pairs), np.int64)
    for first in range(0, len(pairs), CHUNK_PAIRS):
        chunk = slice(first, first + CHUNK_PAIRS)
        bought = pairs.products[chunk]
        scores = query[pairs.buyers[chunk]] @ candidate.T
        own = scores[np.arange(len(bought)), bought][:, None]
        above = (scores > own).sum(axis=1)
        earlier = np.arange(candidate.shape[0])[None, :] < bought[:, None]
        ranks[chunk] = above + ((scores == own) & earlier).sum(axis=1)
    return ranks


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
