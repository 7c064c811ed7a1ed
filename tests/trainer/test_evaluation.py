"""Recall and the popularity baseline."""

import tracemalloc

import numpy as np
import pytest

from trainer.data.splitting import Pairs
from trainer.model.evaluation import count_hits, rank_by_model, rank_by_popularity, to_recalls


def make_pairs(buyers: list[int], products: list[int]) -> Pairs:
    return Pairs(np.array(buyers, np.int32), np.array(products, np.int32))


def test_ranks_are_the_sorted_position() -> None:
    """Each pair's rank is its product's place in the buyer's sorted list, over more than one chunk."""
    rng = np.random.default_rng(1)
    query, candidate = rng.normal(size=(20, 3)), rng.normal(size=(50, 3))
    rows = 1_124
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


def test_a_model_that_diverged_is_not_perfect() -> None:
    """Scores that are no numbers rank last; those of other products count as above."""
    nan = np.full((10, 2), np.nan)
    everyone = make_pairs([0] * 10, list(range(10)))
    assert rank_by_model(np.ones((1, 2)), nan, everyone).tolist() == [9] * 10
    assert rank_by_model(nan[:1], np.ones((10, 2)), everyone).tolist() == [9] * 10
    some = np.ones((10, 2))
    some[:4] = np.nan
    assert rank_by_model(np.ones((1, 2)), some, make_pairs([0, 0, 0], [0, 4, 5])).tolist() == [9, 4, 5]


@pytest.mark.parametrize("chunk_values", [1, 40, 100, 10_000])
def test_ranks_do_not_depend_on_the_chunks(chunk_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair at a time, a few of them, or all at once; ties and nan among the scores."""
    rng = np.random.default_rng(2)
    query, candidate = rng.integers(-2, 3, (30, 3)).astype(float), rng.integers(-2, 3, (40, 3)).astype(float)
    candidate[7] = np.nan
    pairs = make_pairs(rng.integers(0, 30, 300).tolist(), rng.integers(0, 40, 300).tolist())
    monkeypatch.setattr("trainer.model.evaluation.CHUNK_VALUES", chunk_values)
    expected = []
    for buyer, product in zip(pairs.buyers, pairs.products, strict=True):
        scores = candidate @ query[buyer]
        above = sum(not score <= scores[product] for score in scores) + (scores[:product] == scores[product]).sum()
        expected.append(39 if product == 7 else above)
    assert rank_by_model(query, candidate, pairs).tolist() == expected
    for k in (1, 3, 10, 39):
        assert count_hits(query, candidate, pairs, k) == (np.array(expected) < k).sum()


def test_ranking_holds_few_scores_at_once() -> None:
    """A thousand pairs among 100,000 products: [pairs, products] scores alone would be 400 MB."""
    rng = np.random.default_rng(3)
    query, candidate = (rng.normal(size=(size, 8)).astype(np.float32) for size in (1_000, 100_000))
    pairs = make_pairs(list(range(1_000)), rng.integers(0, 100_000, 1_000).tolist())
    tracemalloc.start()
    try:
        rank_by_model(query, candidate, pairs)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 64e6


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
