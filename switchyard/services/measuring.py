"""Measures recall, NDCG and coverage of ranked answers, with paired bootstrap intervals of two models' difference.

The trainer's own evaluation measures recall the same way (trainer/model/evaluation.py). A test compares both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from switchyard.core.errors import BadRequest
from switchyard.core.ports import Recommender
from switchyard.core.registry.judging import DIGITS, Bootstrap, Difference, Measured

KS: Final = (5, 10, 50, 100)
"""What is measured beside the judged k, where a catalogue has enough products. The same as the trainer's."""
RESAMPLES_AT_ONCE: Final = 32

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Positives:
    """What was bought, as rows of `buyer_ids` and positions in the union of both catalogues, ordered by buyer."""

    buyer_ids: Sequence[str]
    buyers: Ints  # [pairs]
    products: Ints  # [pairs]
    places: Mapping[str, int]
    of_buyers: int  # before some were drawn
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Answers:
    """What one model answered: each pair's rank, from 0; k or more where it is not among the first k."""

    ranks: Ints  # [pairs]
    lists: npt.NDArray[np.int32]  # [buyers, k], positions; -1 if the answer is shorter


def choose_ks(judged: int, products: int) -> tuple[int, ...]:
    """Returns KS and the judged k in order, as far as the smaller catalogue has enough products.

    Recall at more products than there are would be 1 for any model.

    >>> choose_ks(20, 60)
    (5, 10, 20, 50)

    Raises:
        BadRequest: there are too few products for the judged k.
    """
    if judged > products:
        raise BadRequest(
            f"One of the versions has only {products} products, so any of its answers at k {judged} is perfect. "
            f"Choose a lower k: --k"
        )
    return tuple(sorted(k for k in {*KS, judged} if k <= products))


def ask(model: Recommender, positives: Positives, k: int) -> Answers:
    """Asks the model buyer by buyer: one row of scores is in memory at a time."""
    lists = np.full((len(positives.buyer_ids), k), -1, np.int32)
    places = positives.places
    for row, buyer_id in enumerate(positives.buyer_ids):
        found = [places[product] for product in model.recommend(buyer_id, k).product_ids]
        lists[row, : len(found)] = found
    return Answers(ranks=_rank(lists, positives), lists=lists)


def ask_all_alike(ranked: Sequence[int], positives: Positives, k: int) -> Answers:
    """Answers the same products for every buyer."""
    one = np.full(k, -1, np.int32)
    one[: len(ranked)] = ranked
    lists = np.broadcast_to(one, (len(positives.buyer_ids), k))
    return Answers(ranks=_rank(lists, positives), lists=lists)


def _rank(lists: npt.NDArray[np.int32], positives: Positives) -> Ints:
    """Returns each pair's place in its buyer's list; the list's length where it is not there."""
    ranks = np.empty(len(positives.products), np.int64)
    for begin in range(0, len(ranks), 4_096):
        part = slice(begin, begin + 4_096)
        found = lists[positives.buyers[part]] == positives.products[part, None]
        ranks[part] = np.where(found.any(axis=1), found.argmax(axis=1), lists.shape[1])
    return ranks


def measure(
    positives: Positives,
    ks: Sequence[int],
    challenger: Answers,
    champion: Answers | None,
    popular: Answers | None,
    judged: int,
    bootstrap: Bootstrap,
) -> tuple[Measured, ...]:
    """Returns all metrics at all k. Coverage has an interval at the judged k alone: it costs many passes."""
    counts = np.bincount(positives.buyers, minlength=len(positives.buyer_ids)).astype(float)
    sides = {"challenger": challenger, "champion": champion, "popularity": popular}
    there = {name: answers for name, answers in sides.items() if answers is not None}
    recalls, gains = ({name: way(positives, a, ks, counts) for name, a in there.items()} for way in (_hits, _ndcg))
    ones = np.ones(len(counts))
    others = [name for name in there if name != "challenger"]
    drawn = {
        name: _draw(
            [recalls["challenger"] - recalls[name], gains["challenger"] - gains[name]], [counts, ones], bootstrap
        )
        for name in others
    }
    products = len(positives.places)
    covered = {
        name: _draw_coverage(challenger.lists[:, :judged], there[name].lists[:, :judged], products, bootstrap)
        for name in others
        if name == "champion"
    }
    measured = []
    for at, k in enumerate(ks):
        for which, (name, values, weights) in enumerate((("recall", recalls, counts), ("ndcg", gains, ones))):
            numbers = {side: float(found[:, at].sum() / weights.sum()) for side, found in values.items()}
            differences = {
                side: _to_difference(
                    float((values["challenger"][:, at] - values[side][:, at]).sum() / weights.sum()),
                    drawn[side][which][:, at],
                    bootstrap.confidence,
                )
                for side in others
            }
            measured.append(_to_measured(name, k, numbers, differences))
        shares = {name: _cover(answers.lists[:, :k], products) for name, answers in there.items()}
        differences = {}
        if k == judged:
            for name, found in covered.items():
                differences[name] = _to_difference(shares["challenger"] - shares[name], found, bootstrap.confidence)
        measured.append(_to_measured("coverage", k, shares, differences))
    return tuple(measured)


def _hits(positives: Positives, answers: Answers, ks: Sequence[int], counts: Floats) -> Floats:
    """Returns how many of a buyer's products are among the first k, [buyers, ks].

    Their sum by the number of pairs is recall@k: one pair is one trial, as in the trainer."""
    return np.stack(
        [np.bincount(positives.buyers, weights=answers.ranks < k, minlength=len(counts)) for k in ks], axis=1
    )


def _ndcg(positives: Positives, answers: Answers, ks: Sequence[int], counts: Floats) -> Floats:
    """Returns each buyer's NDCG@k, [buyers, ks].

    A product that was bought gains 1 / log2(rank + 2), rank from 0. The best answer of k products, or of as many as
    were bought where these are fewer, gains 1.

    Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4), 2002, with binary
    gains and their base 2.
    """
    gains = 1.0 / np.log2(np.arange(max(ks)) + 2.0)
    ideal = np.concatenate([[0.0], np.cumsum(gains)])
    padded = np.append(gains, 0.0)
    of_pair = padded[np.minimum(answers.ranks, max(ks))]
    columns = []
    for k in ks:
        gained = np.bincount(positives.buyers, weights=np.where(answers.ranks < k, of_pair, 0.0), minlength=len(counts))
        columns.append(gained / ideal[np.minimum(counts, k).astype(int)])
    return np.stack(columns, axis=1)


def _cover(lists: npt.NDArray[np.int32], products: int) -> float:
    """Returns the share of both catalogues' products that at least one buyer is answered."""
    return _count(lists, products) / products


def _count(lists: npt.NDArray[np.int32], products: int) -> int:
    seen = np.zeros(products + 1, bool)  # -1 is the last
    seen[lists] = True
    return int(seen[:products].sum())


def _draw(differences: Sequence[Floats], weights: Sequence[Floats], bootstrap: Bootstrap) -> list[Floats]:
    """Returns sum(difference) / sum(weight) of each resample of buyers, [resamples, ks], for each of the arrays.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13 (percentile intervals);
    paired: a resample takes a buyer's two answers together.
    """
    rng, buyers = np.random.default_rng(bootstrap.seed), len(weights[0])
    found: list[list[Floats]] = [[] for _ in differences]
    for begin in range(0, bootstrap.resamples, RESAMPLES_AT_ONCE):
        many = min(RESAMPLES_AT_ONCE, bootstrap.resamples - begin)
        times = np.stack([_resample(rng, buyers) for _ in range(many)]).astype(float)
        for place, (difference, weight) in enumerate(zip(differences, weights, strict=True)):
            found[place].append((times @ difference) / (times @ weight)[:, None])
    return [np.concatenate(parts) for parts in found]


def _draw_coverage(
    ours: npt.NDArray[np.int32], theirs: npt.NDArray[np.int32], products: int, bootstrap: Bootstrap
) -> Floats:
    """Returns the difference in coverage of each resample, [resamples], moved to the observed difference as their mean.

    A resample has only two thirds of the buyers, and so covers less."""
    rng = np.random.default_rng(bootstrap.seed)
    found = np.empty(bootstrap.resamples)
    for number in range(bootstrap.resamples):
        there = _resample(rng, len(ours)) > 0
        found[number] = (_count(ours[there], products) - _count(theirs[there], products)) / products
    observed = (_count(ours, products) - _count(theirs, products)) / products
    moved: Floats = found - found.mean() + observed
    return moved


def _resample(rng: np.random.Generator, buyers: int) -> Ints:
    """Returns how often each buyer is drawn."""
    return np.bincount(rng.integers(buyers, size=buyers), minlength=buyers)


def _to_difference(value: float, drawn: Floats, confidence: float) -> Difference:
    outside = (1 - confidence) / 2
    low, high = np.quantile(drawn, [outside, 1 - outside]).tolist()
    # Where hardly any resamples differ, the interval could lie beside what was observed.
    return Difference(value=_round(value), low=_round(min(low, value)), high=_round(max(high, value)))


def _to_measured(name: str, k: int, numbers: Mapping[str, float], differences: Mapping[str, Difference]) -> Measured:
    rounded = {side: _round(number) for side, number in numbers.items()}
    return Measured(
        name=name,
        k=k,
        challenger=rounded["challenger"],
        champion=rounded.get("champion"),
        popularity=rounded.get("popularity"),
        to_champion=differences.get("champion"),
        to_popularity=differences.get("popularity"),
    )


def _round(number: float) -> float:
    return round(number, DIGITS) + 0.0  # no -0.0
