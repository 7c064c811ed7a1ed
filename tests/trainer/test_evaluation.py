"""Recall and the popularity baseline."""

import numpy as np
import pytest

from trainer.data.splitting import Pairs
from trainer.model.evaluation import CHUNK_PAIRS, rank_by_model, rank_by_popularity, to_recalls


def make_pairs(buyers: list[int], products: list[int]) -> Pairs:
    return Pairs(np.array(buyers, np.int32), np.array(products, np.int32))


def test_ranks_are_the_sorted_position() -> None:
    """Each pair's rank is its product's place in the buyer's sorted list, over more than one chunk."""
    rng = np.random.default_rng(1)
    query, candidate = rng.normal(size=(20, 3)), rng.normal(size=(50, 3))
    rows = CHUNK_PAIRS + 100
    pairs = make_pairs(rng.integers(0, 20, rows).tolist(), rng.integers(0, 50, rows).tolist())
    order = np.argsort(-(query @ candidate.T), axis=1)
    expected = [
        order[buyer].tolist().index(product) for buyer, product in zip(pairs.buyers, pairs.products, strict=True)
    ]
    assert rank_by_model(query, candidate, pairs).tolist() == expected


def test_a_model_that_scores_all_alike_is_not_perfect() -> None:
    """Equal scores rank by position: recall is then that of a fixed list."""
    ranks = rank_by_model(np.ones((1, 2)), np.ones((10, 2)), make_pairs([0] * 10, list(range(10))))
    assert ranks.tolist() == list(range(10))


def test_popularity_ranks_by_purchases() -> None:
    """The most bought product is first, ties by position."""
    assert rank_by_popularity(np.array([1, 5, 5, 9]), make_pairs([0] * 4, [0, 1, 2, 3])).tolist() == [3, 1, 2, 0]


@pytest.mark.parametrize(("products", "expected"), [(100, [5, 10, 50, 100]), (99, [5, 10, 50]), (4, [])])
def test_recall_is_the_share_of_pairs_and_leaves_out_what_a_catalogue_cannot_fill(
    products: int, expected: list[int]
) -> None:
    """Recall at more products than there are would be 1 for any model."""
    recalls = to_recalls(np.array([0, 4, 5, 9, 60]), products)
    assert list(recalls) == expected
    assert all(value == {5: 0.4, 10: 0.8, 50: 0.8, 100: 1.0}[k] for k, value in recalls.items())
