"""What a team could answer with instead of a trained model, as scorers (`trainer.model.measuring`): what sells, what
the buyer bought, both of late, and what is bought together. None has a tower; all know the train rows alone.

Where one says nothing of some products, or the same, they follow by popularity.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from trainer.data.splitting import Pairs
from trainer.model.blending import START, Blend, Past, Terms
from trainer.model.choosing import choose_numbers
from trainer.model.evaluation import Floats
from trainer.model.measuring import Scorer

NEIGHBOURS: Final = (20, 100)
"""How many similar products one has, from which validation chooses."""
K1: Final = 1.2
B: Final = 0.75
"""Of BM25. Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, section
3.2, usual values."""
MOST_TOGETHER: Final = 300_000_000
"""Pairs of products that some buyer bought. Above this number item-kNN is left out: it would take minutes.

The pairs grow with the square of what one buyer bought."""
_CHUNK_PAIRS: Final = 1 << 22  # of them, that are expanded at once


@dataclass(frozen=True)
class Vectors:
    """Products of vectors, and terms beside them: a two-tower model's score, or iALS'."""

    query: Floats
    candidate: Floats
    terms: Terms | None = None

    def score(self, buyers: npt.NDArray[Any]) -> Floats:
        """See `Scorer`."""
        scores: Floats = self.query[buyers] @ self.candidate.T
        if self.terms is not None:
            self.terms.add_to(scores, buyers)
        return scores


@dataclass(frozen=True)
class Popularity:
    """The most bought products of the train rows, the same for everyone."""

    past: Past

    def score(self, buyers: npt.NDArray[Any]) -> Floats:
        """See `Scorer`."""
        return np.tile(self.past.share, (len(buyers), 1))


@dataclass(frozen=True)
class OwnCounts:
    """What the buyer bought most often."""

    past: Past

    def score(self, buyers: npt.NDArray[Any]) -> Floats:
        """See `Scorer`. A share is below 1, a count is not."""
        scores = np.tile(self.past.share, (len(buyers), 1))
        rows, own = list_owned(self.past, buyers)
        scores[rows, self.past.places[own]] += self.past.counts[own]
        return scores


def list_owned(past: Past, buyers: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of everything that `buyers` bought: in which row of theirs, and where in `past.places`."""
    starts, lengths = past.starts[buyers], past.starts[buyers + 1] - past.starts[buyers]
    rows = np.repeat(np.arange(len(buyers)), lengths)
    return rows, np.arange(len(rows)) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)


def choose_recent_and_own(
    past: Past, validation: Pairs, *, buyers: int, products: int, seed: int, check: Callable[[], None]
) -> tuple[Scorer, Mapping[str, float]]:
    """What sells of late and what the buyer bought before: the model's own terms (docs/model.md) with no tower, their
    numbers chosen on validation as the model's are."""
    query, candidate = np.zeros((buyers, 1), np.float32), np.zeros((products, 1), np.float32)
    begin = msgspec.structs.replace(START, popularity=1.0)  # without towers nothing else knows what sells
    blend = Blend(past, begin, has_prior=True, has_repeats=True)
    chosen = blend.replace(choose_numbers(query, candidate, blend, validation, seed=seed, check=check))
    return Vectors(query, candidate, chosen.terms), chosen.list_used()


class ItemKnn:
    """Products that are bought by the same buyers as the buyer's own. A product's vector holds what each buyer bought
    of it, weighted by BM25; similarity is the product of two vectors, and each keeps its `neighbours` most similar
    ones, itself among them. Source: the BM25 recommender of https://github.com/benfred/implicit.

    Attributes:
        similar: each product's most similar ones, best first, [products, at most `most`].
        similarity: beside them.
    """

    def __init__(self, past: Past, *, buyers: int, most: int, check: Callable[[], None]) -> None:
        self.past = past
        self.neighbours = most
        products = len(past.share)
        owners = np.repeat(np.arange(buyers), np.diff(past.starts))
        self._weights = _weigh(past, owners, products)
        most = min(most, products)
        self.similar = np.empty((products, most), np.int32)
        self.similarity = np.empty((products, most), np.float32)
        order = np.argsort(past.places, kind="stable")
        begins = np.searchsorted(past.places[order], np.arange(products + 1))
        together = np.diff(past.starts)[owners]  # of each entry, how many products its buyer bought
        for first, last in _to_chunks(np.add.reduceat(together[order], begins[:-1]), products):
            check()
            self._compare(order[begins[first] : begins[last]], first, last, owners)

    def keep(self, neighbours: int) -> "ItemKnn":
        """The same with fewer neighbours."""
        other = object.__new__(ItemKnn)
        other.__dict__.update(self.__dict__)
        other.neighbours = neighbours
        other.similar, other.similarity = self.similar[:, :neighbours], self.similarity[:, :neighbours]
        return other

    def score(self, buyers: npt.NDArray[Any]) -> Floats:
        """See `Scorer`."""
        rows, own = list_owned(self.past, buyers)
        places = self.past.places[own]
        products = len(self.past.share)
        at = rows[:, None] * products + self.similar[places]
        adds = self.past.counts[own, None] * self.similarity[places]
        scores = np.bincount(at.ravel(), adds.ravel(), minlength=len(buyers) * products)
        # What is not similar to anything has 0; the shares are too small to change any other order.
        found: Floats = scores.reshape(len(buyers), products) + 1e-9 * self.past.share
        return found

    def _compare(self, entries: npt.NDArray[Any], first: int, last: int, owners: npt.NDArray[Any]) -> None:
        """The neighbours of the products from `first` to before `last`, whose purchases are `entries`."""
        past, products = self.past, len(self.past.share)
        rows, own = list_owned(past, owners[entries])
        at = (past.places[entries] - first)[rows].astype(np.int64) * products + past.places[own]
        adds = self._weights[entries][rows] * self._weights[own]
        found = np.bincount(at, adds, minlength=(last - first) * products).reshape(last - first, products)
        most = self.similar.shape[1]
        best = np.argpartition(-found, most - 1, axis=1)[:, :most]
        values = np.take_along_axis(found, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        self.similar[first:last] = np.take_along_axis(best, order, axis=1)
        self.similarity[first:last] = np.take_along_axis(values, order, axis=1)


def count_together(past: Past) -> int:
    """How many pairs of products some buyer bought both of, counted for each buyer: what item-kNN goes through."""
    return int((np.diff(past.starts).astype(np.int64) ** 2).sum())


def _weigh(past: Past, owners: npt.NDArray[Any], products: int) -> npt.NDArray[np.float64]:
    """BM25 of each entry of `past.places`: products are the documents, buyers the terms."""
    lengths = np.bincount(past.places, past.counts, minlength=products)
    rarity = np.log1p(products / (1.0 + np.diff(past.starts)[owners]))  # above 0 also for who bought everything
    norm = K1 * (1 - B + B * lengths[past.places] / max(lengths.mean(), 1.0))
    weights: npt.NDArray[np.float64] = past.counts * (K1 + 1) / (norm + past.counts) * rarity
    return weights


def _to_chunks(pairs: npt.NDArray[np.int64], products: int) -> list[tuple[int, int]]:
    """Runs of products, each with at most _CHUNK_PAIRS of `pairs`, and as many similarities (of one product at
    least)."""
    chunks, first, held = [], 0, 0
    for place, count in enumerate(pairs):
        if place > first and (held + count > _CHUNK_PAIRS or (place - first + 1) * products > _CHUNK_PAIRS):
            chunks.append((first, place))
            first, held = place, 0
        held += int(count)
    return [*chunks, (first, len(pairs))]
