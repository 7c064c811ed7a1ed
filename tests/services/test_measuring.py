"""Recall, NDCG, coverage and their intervals: against the trainer's own evaluation, and in closed cases."""

import math
from pathlib import Path

import numpy as np
import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.registry.judging import Bootstrap, Measured
from switchyard.services.measuring import Answers, Positives, ask, choose_ks, measure
from tests.services.validation_world import open_model, to_ids, write_model
from trainer.data.splitting import Pairs
from trainer.model.evaluation import Floats, rank_by_model, to_recalls

BOOTSTRAP = Bootstrap(resamples=400, confidence=0.95, seed=7)


def positives(pairs: Pairs, buyers: list[str], products: list[str]) -> Positives:
    order = np.argsort(pairs.buyers, kind="stable")
    return Positives(
        buyer_ids=buyers,
        buyers=pairs.buyers[order].astype(np.int64),
        products=pairs.products[order].astype(np.int64),
        places={id_: place for place, id_ in enumerate(products)},
        of_buyers=len(buyers),
        counts={},
    )


def find(measured: tuple[Measured, ...], name: str, k: int) -> Measured:
    (found,) = [one for one in measured if (one.name, one.k) == (name, k)]
    return found


@pytest.mark.parametrize("kind", ["plain", "ties", "one score for all"])
def test_recall_is_the_trainer_s(tmp_path: Path, kind: str) -> None:
    """Both give the same of the same pairs and vectors, at every k.

    Equal scores rank by the catalogue's order, a pair is a trial, and a buyer with fewer than k products, or with more,
    counts by its pairs."""
    rng = np.random.default_rng(1)
    query, candidate = (rng.normal(size=(rows, 6)).astype(np.float32) for rows in (40, 120))
    if kind == "ties":
        query, candidate = (rng.integers(-1, 2, (rows, 3)).astype(np.float32) for rows in (40, 120))
    if kind == "one score for all":
        # Eighths: their sums are exact in any order, so that the scores are equal on every processor.
        query, candidate = np.round(query * 8).astype(np.float32) / np.float32(8), np.ones_like(candidate)
    buyers, products = to_ids("b", 40), to_ids("p", 120)
    write_model(tmp_path, buyers, products, query, candidate)
    distinct = np.unique(np.stack([rng.integers(0, 40, 300), rng.integers(0, 120, 300)], axis=1), axis=0)
    pairs = Pairs(distinct[:, 0].astype(np.int32), distinct[:, 1].astype(np.int32))
    asked = positives(pairs, buyers, products)
    found = measure(asked, choose_ks(10, 120), ask(open_model(tmp_path), asked, 100), None, None, 10, BOOTSTRAP)
    for k, expected in to_recalls(rank_by_model(query, candidate, pairs), 120).items():
        assert find(found, "recall", k).challenger == pytest.approx(expected, abs=1e-6), k


def answers(ranked: list[list[int]], asked: Positives) -> Answers:
    """Made of lists of positions, one a buyer."""
    lists = np.array(ranked, np.int32)
    ranks = [
        ranked[buyer].index(product) if product in ranked[buyer] else lists.shape[1]
        for buyer, product in zip(asked.buyers.tolist(), asked.products.tolist(), strict=True)
    ]
    return Answers(ranks=np.array(ranks), lists=lists)


def test_metrics_of_a_case_that_was_worked_out_by_hand() -> None:
    """Two buyers, five products; ranks count from 0, and a gain is 1 / log2(rank + 2)."""
    asked = positives(Pairs(np.array([0, 0, 1], np.int32), np.array([3, 4, 0], np.int32)), ["a", "b"], list("vwxyz"))
    found = measure(asked, [2], answers([[3, 1], [1, 2]], asked), answers([[0, 1], [4, 0]], asked), None, 2, BOOTSTRAP)
    gain = 1 / math.log2(3)
    recall, ndcg, coverage = (find(found, name, 2) for name in ("recall", "ndcg", "coverage"))
    assert (recall.challenger, recall.champion) == pytest.approx((1 / 3, 1 / 3), abs=1e-6)
    # Of two bought products the best answer gains 1 + gain, of one 1; a mean over buyers.
    assert (ndcg.challenger, ndcg.champion) == pytest.approx((1 / (1 + gain) / 2, gain / 2), abs=1e-6)
    assert (coverage.challenger, coverage.champion) == (0.6, 0.6)


def make_world(buyers: int, seed: int) -> tuple[Positives, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """Buyers with one product each of 50, and a ranking for each that begins somewhere by chance."""
    rng = np.random.default_rng(seed)
    bought = rng.integers(0, 50, buyers)
    pairs = Pairs(np.arange(buyers, dtype=np.int32), bought.astype(np.int32))
    ranked = np.stack([rng.permutation(50)[:10] for _ in range(buyers)])
    return positives(pairs, to_ids("b", buyers), to_ids("p", 50)), ranked


def test_identical_models_differ_by_nothing() -> None:
    """Difference and interval are 0, of every metric."""
    asked, ranked = make_world(200, 3)
    same = answers(ranked.tolist(), asked)
    for one in measure(asked, [5, 10], same, same, None, 10, BOOTSTRAP):
        if one.to_champion is not None:
            assert (one.to_champion.value, one.to_champion.low, one.to_champion.high) == (0.0, 0.0, 0.0)


def test_clearly_better_model_has_an_interval_above_zero_and_the_other_way_round() -> None:
    """Who answers what is bought to half of the buyers more."""
    asked, ranked = make_world(200, 4)
    better = ranked.copy()
    better[::2, 0] = asked.products[::2]
    pair = answers(better.tolist(), asked), answers(ranked.tolist(), asked)
    for name in ("recall", "ndcg"):
        up = find(measure(asked, [10], pair[0], pair[1], None, 10, BOOTSTRAP), name, 10).to_champion
        down = find(measure(asked, [10], pair[1], pair[0], None, 10, BOOTSTRAP), name, 10).to_champion
        assert up is not None
        assert down is not None
        assert 0 < up.low < up.value < up.high
        assert (down.value, down.low, down.high) == pytest.approx((-up.value, -up.high, -up.low), abs=1e-6)


def test_interval_of_one_trial_a_buyer_is_that_of_a_mean() -> None:
    """With one pair a buyer the difference is a mean of -1, 0 and 1, whose normal interval is known."""
    asked, ranked = make_world(1_000, 5)
    other = make_world(1_000, 6)[1]
    pair = answers(ranked.tolist(), asked), answers(other.tolist(), asked)
    many = Bootstrap(resamples=4_000, confidence=0.95, seed=7)
    found = find(measure(asked, [10], *pair, None, 10, many), "recall", 10).to_champion
    assert found is not None
    each = (pair[0].ranks < 10).astype(float) - (pair[1].ranks < 10)
    spread = 1.96 * each.std() / math.sqrt(1_000)
    assert found.value == pytest.approx(each.mean(), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((each.mean() - spread, each.mean() + spread), abs=spread / 8)


def test_same_seed_gives_the_same_and_another_one_does_not() -> None:
    """Evidence can be made again."""
    asked, ranked = make_world(200, 8)
    pair = answers(ranked.tolist(), asked), answers(make_world(200, 9)[1].tolist(), asked)
    first, again, other = (
        measure(asked, [10], *pair, None, 10, Bootstrap(resamples=100, confidence=0.95, seed=seed))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_coverage_s_interval_is_around_what_was_observed() -> None:
    """A resample has fewer buyers, and so covers less: the interval must not say that of the models."""
    asked, ranked = make_world(100, 10)
    narrow = np.broadcast_to(ranked[0], ranked.shape)
    pair = answers(ranked.tolist(), asked), answers(narrow.tolist(), asked)
    found = find(measure(asked, [5], *pair, None, 5, BOOTSTRAP), "coverage", 5).to_champion
    assert found is not None
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(1.0 - 0.1, abs=0.05)


@pytest.mark.parametrize(
    ("judged", "products", "expected"), [(10, 1_000, (5, 10, 50, 100)), (7, 60, (5, 7, 10, 50)), (3, 4, (3,))]
)
def test_k_that_a_catalogue_cannot_fill_is_left_out(judged: int, products: int, expected: tuple[int, ...]) -> None:
    """The trainer leaves it out as well."""
    assert choose_ks(judged, products) == expected


def test_judged_k_that_a_catalogue_cannot_fill_is_refused() -> None:
    """Any answer would be perfect."""
    with pytest.raises(BadRequest, match="only 9 products"):
        choose_ks(10, 9)


def test_vectors_of_the_trainer_are_what_the_model_reads(tmp_path: Path) -> None:
    """The best product is that of the highest product of vectors."""
    query: Floats = np.eye(3, dtype=np.float32)
    write_model(tmp_path, to_ids("b", 3), to_ids("p", 3), query, query)
    assert [open_model(tmp_path).recommend(f"b{row}", 1).product_ids for row in range(3)] == [("p0",), ("p1",), ("p2",)]
