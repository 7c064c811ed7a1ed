"""What the score has beside the towers: its terms, how their numbers are chosen, and that all who answer agree."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
import tensorflow as tf

from switchyard.clients.interactions.rows import Interactions
from switchyard.clients.scoring.open import open_recommender
from tests.trainer.factories import make_spec
from trainer.data.splitting import Dataset, Pairs, split_by_time
from trainer.model import choosing
from trainer.model.blending import Blend, Numbers, make_blend
from trainer.model.choosing import NEW_PAIRS, SECOND_START, Judge, choose_numbers, climb, draw_pairs
from trainer.model.evaluation import rank_by_model
from trainer.model.export import export_embeddings, export_model, export_score
from trainer.options import RunSpec
from trainer.output.journal import Journal
from trainer.output.run_folder import RunFolder
from trainer.stopping import Stopped, StopWish
from trainer.training import Training

BUYERS, PRODUCTS, ROWS = 40, 30, 900
DAY_US = 86_400e6
NUMBERS = Numbers(half_life=0.05, shift=1.0, popularity=0.3, bought=0.5, count=1.2, recency=0.5)


def make_dataset(times: Any = None, **changes: Any) -> Dataset:
    """Purchases at random, a quarter of a day apart, of products of which the last ones sell late."""
    draw = np.random.default_rng(3)
    products = (draw.integers(0, PRODUCTS // 2, ROWS) + np.arange(ROWS) * (PRODUCTS // 2) // ROWS).tolist()
    rows = {
        "buyers": pa.array([f"b{buyer}" for buyer in draw.integers(0, BUYERS, ROWS).tolist()]),
        "products": pa.array([f"p{product}" for product in products]),
        "times": 1.7e15 + np.arange(ROWS) * DAY_US / 4 if times is None else times,
    }
    return split_by_time(Interactions(**rows), make_spec(**changes))


def make_vectors(dataset: Dataset, dim: int = 8) -> tuple[Any, Any]:
    draw = np.random.default_rng(4)
    found = [draw.normal(size=(len(ids), dim)).astype("f4") for ids in (dataset.buyer_ids, dataset.product_ids)]
    query, candidate = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in found)
    return query, candidate


def make(
    dataset: Dataset, numbers: Numbers = NUMBERS, *, recent: bool = True, own: bool = True, temperature: float = 0.1
) -> Blend:
    blend = make_blend(make_spec(recent_popularity=recent, own_history=own, temperature=temperature), dataset)
    assert blend is not None
    return blend.replace(numbers)


def score_by_hand(dataset: Dataset, query: Any, candidate: Any, numbers: Numbers) -> Any:
    """The formula of docs/model.md, product by product; temperature 0.1."""
    times = dataset.train_times.astype(float)
    begin = np.sort(times)[int(np.ceil(0.01 * (len(times) - 1)))]
    ages = (times.max() - np.maximum(times, begin)) / (times.max() - begin)
    scores = np.array(query @ candidate.T, np.float64)
    weights = 0.5 ** (ages / numbers.half_life)
    logs = np.log(np.bincount(dataset.train.products) / len(ages))
    for product in range(len(dataset.product_ids)):
        rows = dataset.train.products == product
        share = rows.mean()
        recent = 0.98 * weights[rows].sum() / weights.sum() + 0.02 * share
        scores[:, product] += 0.1 * numbers.shift * np.log(recent / share)
        scores[:, product] += 0.1 * numbers.popularity * (logs[product] - logs.mean())
        for buyer in range(len(dataset.buyer_ids)):
            own = rows & (dataset.train.buyers == buyer)
            if own.any():
                age = 10 * ages[own].min()
                repeat = numbers.bought + numbers.count * np.log(1 + own.sum()) - numbers.recency * np.log(1 + age)
                scores[buyer, product] += 0.1 * repeat
    return scores


def test_the_terms_are_those_of_the_formula() -> None:
    """For each buyer and product, in any order of buyers; without own products they are last."""
    dataset = make_dataset()
    query, candidate = make_vectors(dataset)
    terms = make(dataset).terms
    buyers = np.arange(len(dataset.buyer_ids))[::-1]
    scores = query[buyers] @ candidate.T
    terms.add_to(scores, buyers)
    expected = score_by_hand(dataset, query, candidate, NUMBERS)[buyers]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    hidden = query @ candidate.T
    terms.hide_own().add_to(hidden, np.arange(len(query)))
    bought = np.zeros(hidden.shape, bool)
    bought[dataset.train.buyers, dataset.train.products] = True
    assert (np.isneginf(hidden) == bought).all()


@pytest.mark.parametrize("scale", [1 / 3, 1e-9, 1e7, 1e25])
def test_only_the_order_and_the_spacing_of_times_count(scale: float) -> None:
    """A source's own numbers, small or large, give the terms that the same times give as microseconds since 1970."""
    usual, other = (make(make_dataset(times)).terms for times in (None, np.arange(ROWS) * scale))
    assert usual.bias is not None
    assert usual.repeats is not None
    assert other.bias == pytest.approx(usual.bias, abs=1e-4)
    assert other.repeats == pytest.approx(usual.repeats, abs=1e-4)


def test_a_wrong_old_date_does_not_change_what_is_recent() -> None:
    """One row of 1970 among a year's, and the terms are nearly those without it."""
    times = 1.7e15 + np.arange(ROWS) * DAY_US / 4
    usual, other = (make(make_dataset(found)).terms for found in (times, np.append(0.0, times[1:])))
    assert usual.bias is not None
    assert usual.repeats is not None
    assert other.bias == pytest.approx(usual.bias, abs=1e-3)
    assert other.repeats == pytest.approx(usual.repeats, abs=1e-3)


def test_ranks_are_by_the_blended_score() -> None:
    """As sorting each buyer's blended scores says; nan ranks last as before."""
    dataset = make_dataset()
    query, candidate = make_vectors(dataset)
    scores = score_by_hand(dataset, query, candidate, NUMBERS)
    order = np.argsort(-scores, axis=1).tolist()
    pairs, terms = dataset.test, make(dataset).terms
    expected = [order[b].index(p) for b, p in zip(pairs.buyers, pairs.products, strict=True)]
    assert rank_by_model(query, candidate, pairs, terms).tolist() == expected
    assert (rank_by_model(query, np.full_like(candidate, np.nan), pairs, terms) == len(candidate) - 1).all()


@pytest.mark.parametrize(
    ("recent", "own", "temperature", "popular_by"),
    [
        (True, True, 0.1, "recent purchases"),
        (True, True, 10.0, "recent purchases"),
        (True, False, 0.1, "recent purchases"),
        (False, True, 0.1, "purchases"),
    ],
)
def test_saved_model_and_predictions_answer_alike(
    tmp_path: Path, recent: bool, own: bool, temperature: float, popular_by: str
) -> None:
    """The same products in the same order, scores within 1e-6 of the larger of 1 and the score, for every buyer.

    Strangers get what sells of late, where that counts. These are the scores that the evaluation ranks by.
    """
    dataset = make_dataset()
    query, candidate = make_vectors(dataset)
    blend = make(dataset, recent=recent, own=own, temperature=temperature)
    k = len(dataset.product_ids)
    export_model(dataset, query, candidate, top_k=k, folder=tmp_path, blend=blend)
    export_embeddings(dataset, query, candidate, folder=tmp_path)
    export_score(dataset, blend, folder=tmp_path)
    stored = {name.split("/")[0] for name, _ in tf.train.list_variables(str(tmp_path / "model/variables/variables"))}
    assert bool(stored & {"starts", "places", "repeats"}) == own  # else model/ would name purchases for nothing
    model = open_recommender(tmp_path)
    buyers = [*dataset.buyer_ids.to_pylist(), "stranger", "b1"]
    saved = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    found = {name: value.numpy() for name, value in saved(buyer_ids=tf.constant(buyers)).items()}
    for row, buyer in enumerate(buyers):
        answer = model.recommend(buyer, k)
        assert [name.decode() for name in found["product_ids"][row]] == list(answer.product_ids)
        allowed = 1e-6 * np.maximum(1, np.abs(answer.scores))
        assert (np.abs(found["scores"][row] - answer.scores) <= allowed).all()
        assert bool(found["known"][row]) == answer.known == (buyer != "stranger")
    scores = query @ candidate.T
    blend.terms.add_to(scores, np.arange(len(query)))
    np.testing.assert_allclose(found["scores"][: len(query)], -np.sort(-scores, axis=1), rtol=1e-6, atol=1e-6)
    share = blend.popularity
    stranger = model.recommend("stranger", 3)
    ids = dataset.product_ids.to_pylist()
    assert stranger.product_ids == tuple(ids[place] for place in np.argsort(-share, kind="stable")[:3])
    assert model.popularity == popular_by
    bought = set(dataset.product_ids.take(pa.array(dataset.train.products[dataset.train.buyers == 0])).to_pylist())
    unseen = model.recommend(buyers[0], k, without_bought=True)
    assert set(unseen.product_ids) == {*ids} - bought  # so each score/ has the purchases, whatever its terms are


def test_what_a_reader_of_embeddings_alone_gets_is_the_cosine(tmp_path: Path) -> None:
    """The vectors are of unit length and of the trained dimension, whatever the score has beside them."""
    dataset = make_dataset()
    query, candidate = make_vectors(dataset)
    blend = make(dataset)
    export_embeddings(dataset, query, candidate, folder=tmp_path)
    export_score(dataset, blend, folder=tmp_path)
    table = pa_parquet.read_table(tmp_path / "embeddings" / "candidate.parquet")
    np.testing.assert_array_equal(np.stack(table["embedding"].to_pylist()), candidate)
    weights = json.loads((tmp_path / "score" / "weights.json").read_bytes())
    assert (weights["version"], weights["cosine"], weights["prior"]) == (2, 1.0, pytest.approx(0.1))


def test_numbers_are_chosen_on_the_pairs_that_are_given() -> None:
    """Buyers who buy again what they bought most are found by counts, and those who never do by none.

    The same data give the same numbers, and a term that was not asked for stays out.
    """
    dataset = make_dataset()
    query, candidate = make_vectors(dataset)
    blend = make(dataset, Numbers())
    past = blend.past
    most = past.counts >= np.quantile(past.counts, 0.8)
    buyers = np.repeat(np.arange(len(query)), np.diff(past.starts))
    again = Pairs(buyers[most].astype(np.int32), past.places[most])
    chosen = choose_numbers(query, candidate, blend, again, seed=7)
    assert chosen.count > 0
    assert chosen == choose_numbers(query, candidate, blend, again, seed=7)
    towers, blended = (
        (rank_by_model(query, candidate, again, blend.replace(found).terms) < 10).mean()
        for found in (Numbers(), chosen)
    )
    assert blended > towers + 0.2
    only = choose_numbers(query, candidate, replace(blend, has_prior=False), again, seed=7)
    assert (only.shift, only.popularity, only.half_life) == (0.0, 0.0, Numbers().half_life)


def test_climbing_stops_when_nothing_changes_and_keeps_the_first_of_equals() -> None:
    """One number at a time; numbers that are worse or equal are left."""
    asked = []

    def measure(numbers: Numbers) -> float:
        asked.append(numbers)
        return -abs(numbers.shift - 1) - abs(numbers.count - 2)

    grid = {"shift": (0.5, 1.0, 1.0), "count": (2.0, 3.0)}
    assert climb(measure, Numbers(bought=7.0), grid) == Numbers(bought=7.0, shift=1.0, count=2.0)
    assert len(asked) == 1 + 2 * 5


def test_climbing_moves_all_numbers_at_once() -> None:
    """Where each alone makes it worse: the scale of what is added to the cosine. The half-life is no part of that."""

    def measure(numbers: Numbers) -> float:
        return numbers.count - 9 * abs(numbers.count - 2 * numbers.shift) - abs(numbers.half_life - 0.5)

    found = climb(measure, Numbers(half_life=0.5, shift=1.0, count=2.0), {"count": (1.0, 3.0), "shift": (0.5, 2.0)})
    assert (found.shift, found.count) == (1.0, 2.0)
    found = climb(measure, found, {"scale": (1.4,), "count": (1.0, 3.0)})
    assert (found.half_life, found.shift, found.count) == pytest.approx((0.5, 1.4**2, 2 * 1.4**2))


def test_the_better_of_two_beginnings_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is best near the second one is found though no single step leads there from the first."""
    dataset = make_dataset()
    vectors, blend = make_vectors(dataset), make(dataset, Numbers())
    best = msgspec.structs.replace(SECOND_START, recency=0.5)
    monkeypatch.setattr(Judge, "measure", lambda self, numbers: float((numbers == best) + 0.5 * (numbers == Numbers())))
    assert choose_numbers(*vectors, blend, dataset.validation, seed=7) == best
    only = replace(blend, has_repeats=False)
    assert choose_numbers(*vectors, only, dataset.validation, seed=7) == Numbers()


def test_a_few_pairs_of_new_products_do_not_choose() -> None:
    """Five hits more or less among them are chance; from NEW_PAIRS on they count beside all."""
    dataset = make_dataset()
    query, candidate = make_vectors(dataset)
    blend = make(dataset)
    past = blend.past
    buyers = np.repeat(np.arange(len(query)), np.diff(past.starts)).astype(np.int32)
    missing = np.ones((len(query), len(candidate)), bool)
    missing[buyers, past.places] = False
    new = np.argwhere(missing)[:5].astype(np.int32)

    def compare(times: int) -> tuple[float, float]:
        """How much better other numbers are, by the judge and by the hits among all pairs."""
        found = np.concatenate([np.stack([buyers, past.places], axis=1), *[new] * times])
        pairs = Pairs(found[:, 0], found[:, 1])
        judge = Judge(query, candidate, blend, pairs)
        one, other = NUMBERS, msgspec.structs.replace(NUMBERS, shift=0.0)
        hits = [
            (rank_by_model(query, candidate, pairs, blend.replace(numbers).terms) < 10).sum()
            for numbers in (one, other)
        ]
        return judge.measure(one) - judge.measure(other), float(np.log((hits[0] + 1) / (hits[1] + 1)))

    judged, by_all = compare(1)
    assert judged == pytest.approx(by_all)
    judged, by_all = compare(NEW_PAIRS // 5)
    assert judged != pytest.approx(by_all)


def test_what_the_choice_costs_is_bounded_by_buyers_times_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of the buyers that are drawn first, the same ones for the same seed; of one buyer at least."""
    monkeypatch.setattr(choosing, "CHOICE_SCORES", 7 * PRODUCTS)
    pairs = Pairs(np.arange(100, dtype=np.int32) % 20, np.arange(100, dtype=np.int32) % PRODUCTS)
    drawn = draw_pairs(pairs, products=PRODUCTS, seed=7)
    assert (len(set(drawn.buyers.tolist())), len(drawn)) == (7, 35)
    assert drawn.products.tolist() == draw_pairs(pairs, products=PRODUCTS, seed=7).products.tolist()
    assert len(set(draw_pairs(pairs, products=10_000, seed=7).buyers.tolist())) == 1


def test_a_stop_is_heard_while_numbers_are_chosen(tmp_path: Path) -> None:
    """Between two looks at the validation pairs, and not only when the choice is made: 30 s later comes the kill."""
    dataset, wish = make_dataset(), StopWish()
    journal = Journal(RunFolder(RunSpec(artifacts_uri=tmp_path.as_uri()), seed=1), make_spec())
    training = Training(make_spec(), journal, wish, store=None, pause_s=0)
    model: Any = SimpleNamespace(read_vectors=lambda: make_vectors(dataset))
    wish.made = True
    with pytest.raises(Stopped):
        training._choose(model, dataset, make(dataset))
