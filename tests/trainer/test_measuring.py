"""Ranks, figures and the bootstrap of the evaluation report, against the long way round."""

import math
from typing import Any

import numpy as np
import pytest

from switchyard.core.runs.spec import TrainSpec
from tests.trainer.factories import make_interactions, make_spec
from trainer.data.splitting import Dataset, split_by_time
from trainer.model import measuring
from trainer.model.baselines import ItemKnn, OwnCounts, Popularity, _weigh, choose_recent_and_own
from trainer.model.blending import Past
from trainer.model.measuring import Window, draw, open_window, rank, to_bounds, to_sums


class Table:
    """Scores that a test has chosen, [buyers, products]."""

    def __init__(self, scores: Any) -> None:
        self.scores = np.asarray(scores)

    def score(self, buyers: Any) -> Any:
        return self.scores[buyers].copy()


@pytest.fixture
def dataset() -> Dataset:
    """200 purchases of 20 buyers and 15 products, some again and again."""
    import pyarrow as pa

    rng = np.random.default_rng(3)
    buyers = pa.array([f"b{number:02}" for number in rng.integers(0, 20, 400)])
    products = pa.array([f"p{number:02}" for number in rng.zipf(1.5, 400) % 15])
    spec: TrainSpec = make_spec()
    return split_by_time(make_interactions(400, buyers=buyers, products=products), spec)


def open_test(dataset: Dataset, **changes: Any) -> Window:
    past = Past(dataset, temperature=0.1)
    asked: dict[str, Any] = {"products": len(dataset.product_ids), "seed": 7, "most_scores": 10**9, **changes}
    return open_window(dataset.test, past, **asked)


@pytest.mark.parametrize("chunk_values", [1, 70, 10_000])
def test_ranks_are_those_of_a_sorted_list(dataset: Dataset, chunk_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all products and among new ones, with ties and nan, whatever the chunks."""
    monkeypatch.setattr("trainer.model.evaluation.CHUNK_VALUES", chunk_values)
    window, rng = open_test(dataset), np.random.default_rng(1)
    scores = rng.integers(0, 5, (len(dataset.buyer_ids), window.catalogue)).astype(float)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    ranks = rank(Table(scores), window)
    shown = set()
    for at, buyer in enumerate(window.buyers):
        own = set(window.list_own(buyer).tolist())
        order = sorted(range(window.catalogue), key=lambda product: (-scores[buyer, product], product))
        shown |= set(order[:10]) if not np.isnan(scores[buyer]).any() else set()
        for place in range(window.starts[at], window.starts[at + 1]):
            product, mine = int(window.products[place]), scores[buyer, window.products[place]]
            above = [
                other
                for other in range(window.catalogue)
                if not scores[buyer, other] <= mine or (scores[buyer, other] == mine and other < product)
            ]
            if math.isnan(mine):
                assert ranks.every[place] == window.catalogue - 1
                continue
            assert ranks.every[place] == len(above)
            assert window.is_new[place] == (product not in own)
            if window.is_new[place]:
                assert ranks.new[place] == len([other for other in above if other not in own])
    assert len(window.products) == len(dataset.test)
    assert ranks.covered >= len(shown)


def test_a_model_that_scores_all_alike_covers_only_the_first(dataset: Dataset) -> None:
    """Ties go to the first ten of the catalogue, and a model of nan alone shows nothing."""
    window = open_test(dataset)
    alike = rank(Table(np.ones((len(dataset.buyer_ids), window.catalogue))), window)
    assert (alike.covered, alike.every.tolist()) == (10, window.products.tolist())
    lost = rank(Table(np.full((len(dataset.buyer_ids), window.catalogue), np.nan)), window)
    assert (lost.covered, set(lost.every)) == (0, {window.catalogue - 1})


def test_figures_are_what_their_formulas_say(dataset: Dataset) -> None:
    """Recall counts pairs, NDCG buyers; both by hand."""
    window = open_test(dataset)
    ranks = rank(Popularity(window.past), window)
    found = draw(to_sums(ranks, window, {}), buyers=len(window.buyers), seed=7)
    assert found["all", "recall_at_5"][0] == pytest.approx((ranks.every < 5).mean())
    assert found["new", "recall_at_10"][0] == pytest.approx((ranks.new[window.is_new] < 10).mean())
    gains = []
    for at in range(len(window.buyers)):
        mine = ranks.every[window.starts[at] : window.starts[at + 1]]
        best = sum(1 / math.log2(place + 2) for place in range(min(len(mine), 10)))
        gains.append(sum(1 / math.log2(one + 2) for one in mine if one < 10) / best)
    assert found["all", "ndcg_at_10"][0] == pytest.approx(np.mean(gains))
    assert ("all", "recall_at_50") not in found  # there are 15 products


def test_the_bootstrap_is_of_buyers_and_one_seed_gives_one_result() -> None:
    """Its spread is that of a mean over buyers: known for hits that are 0 or 1, one pair a buyer."""
    rng = np.random.default_rng(0)
    hits = (rng.random(2_000) < 0.3).astype(float)
    sums = {("all", "recall_at_10"): (hits, np.ones(2_000))}
    found = draw(sums, buyers=2_000, seed=7)["all", "recall_at_10"]
    low, high = to_bounds(found[1:])
    expected = 1.96 * math.sqrt(hits.mean() * (1 - hits.mean()) / 2_000)
    assert found[0] == hits.mean()
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert np.array_equal(found, draw(sums, buyers=2_000, seed=7)["all", "recall_at_10"])
    assert not np.array_equal(found, draw(sums, buyers=2_000, seed=8)["all", "recall_at_10"])


def test_draws_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by computing some draws at a time."""
    sums = {("all", "recall_at_10"): (np.arange(50.0), np.full(50, 60.0))}
    whole = draw(sums, buyers=50, seed=7)["all", "recall_at_10"]
    monkeypatch.setattr(measuring, "_CHUNK_VALUES", 120)
    assert draw(sums, buyers=50, seed=7)["all", "recall_at_10"] == pytest.approx(whole, abs=1e-12)


def test_a_slice_without_pairs_has_no_figure(dataset: Dataset) -> None:
    """Rather than 0 of 0; one buyer's interval is that buyer's figure."""
    window = open_test(dataset, most_scores=1)
    assert len(window.buyers) == 1
    ranks = rank(Popularity(window.past), window)
    nobody = np.zeros(1, bool)
    found = draw(to_sums(ranks, window, {"heavy": nobody}), buyers=1, seed=7)
    assert not any(part == "heavy" for part, _ in found)
    draws = found["all", "recall_at_10"]
    assert to_bounds(draws[1:]) == (draws[0], draws[0])


def test_own_counts_come_first_then_popularity(dataset: Dataset) -> None:
    """What a buyer bought more often is above; what no one bought follows by popularity."""
    past = Past(dataset, temperature=0.1)
    (scores,) = OwnCounts(past).score(np.array([4]))
    own = past.places[past.starts[4] : past.starts[5]]
    counts = past.counts[past.starts[4] : past.starts[5]]
    order = np.argsort(-scores, kind="stable").tolist()
    assert set(order[: len(own)]) == set(own.tolist())
    assert [counts[own.tolist().index(product)] for product in order[: len(own)]] == sorted(counts, reverse=True)
    rest = order[len(own) :]
    assert [past.share[product] for product in rest] == sorted((past.share[product] for product in rest), reverse=True)


@pytest.mark.parametrize("chunk", [1, 60, 10**6])
def test_item_knn_is_the_product_of_dense_matrices(
    dataset: Dataset, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the chunks in which it is computed."""
    monkeypatch.setattr("trainer.model.baselines._CHUNK_PAIRS", chunk)
    past, buyers, products = Past(dataset, temperature=0.1), len(dataset.buyer_ids), len(dataset.product_ids)
    owners = np.repeat(np.arange(buyers), np.diff(past.starts))
    weights, counts = np.zeros((buyers, products)), np.zeros((buyers, products))
    weights[owners, past.places], counts[owners, past.places] = _weigh(past, owners, products), past.counts
    similarity = weights.T @ weights
    for row in similarity:
        row[np.argsort(-row, kind="stable")[4:]] = 0
    expected = counts @ similarity + 1e-9 * past.share
    knn = ItemKnn(past, buyers=buyers, most=9, check=lambda: None).keep(4)
    assert knn.score(np.arange(buyers)) == pytest.approx(expected, rel=1e-5)


def test_recent_and_own_differs_between_buyers_by_what_they_bought_alone(dataset: Dataset) -> None:
    """It has no tower: what two buyers have not bought has the same score for both."""
    past = Past(dataset, temperature=0.1)
    sizes = {"buyers": len(dataset.buyer_ids), "products": len(dataset.product_ids)}
    scorer, numbers = choose_recent_and_own(past, dataset.validation, **sizes, seed=7, check=lambda: None)
    assert set(numbers) == {"half_life", "shift", "popularity", "bought", "count", "recency"}
    first, second = scorer.score(np.array([0, 1]))
    own = [set(past.places[past.starts[buyer] : past.starts[buyer + 1]].tolist()) for buyer in (0, 1)]
    neither = [product for product in range(sizes["products"]) if product not in own[0] | own[1]]
    assert neither
    assert first[neither].tolist() == second[neither].tolist()
    assert first.tolist() != second.tolist()
