"""The baselines: what a team could answer with instead of a trained model, as scorers of `trainer.model.measuring`.

They are what sells, what the buyer bought, both with recent purchases first, and what is bought together. None has a
tower, and all know only the train rows. Products that a baseline does not score, or scores equally, follow by
popularity.
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
"""How many similar products each product has; validation chooses one of these numbers."""
K1: Final = 1.2
B: Final = 0.75
"""K1 and B are BM25's. Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009,
section 3.2, the usual values."""
MOST_TOGETHER: Final = 500_000_000
"""The most pairs of products that one buyer bought. Above this number item-kNN is left out.

The number grows with the square of what one buyer bought; Complete Journey has 360,927,868 (docs/evaluation.md)."""
_CHUNK_PAIRS: Final = 1 << 22  # pairs that are expanded at once


@dataclass(frozen=True)
class Vectors:
    """Scores by the product of two vectors, plus optional terms: a two-tower model's score, or iALS'."""

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
    """Scores by how often a product is bought in the train rows, the same for every buyer."""

    past: Past

    def score(self, buyers: npt.NDArray[Any]) -> Floats:
        """See `Scorer`."""
        return np.tile(self.past.share, (len(buyers), 1))


@dataclass(frozen=True)
class OwnCounts:
    """Scores by how often the buyer bought the product."""

    past: Past

    def score(self, buyers: npt.NDArray[Any]) -> Floats:
        """See `Scorer`. Shares are below 1, so they only order products with equal counts."""
        scores = np.tile(self.past.share, (len(buyers), 1))
        rows, own = list_owned(self.past, buyers)
        scores[rows, self.past.places[own]] += self.past.counts[own]
        return scores


def list_owned(past: Past, buyers: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the position in `buyers` and the position in `past.places` of everything that `buyers` bought."""
    starts, lengths = past.starts[buyers], past.starts[buyers + 1] - past.starts[buyers]
    rows = np.repeat(np.arange(len(buyers)), lengths)
    return rows, np.arange(len(rows)) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)


def choose_recent_and_own(
    past: Past, validation: Pairs, *, buyers: int, products: int, seed: int, check: Callable[[], None]
) -> tuple[Scorer, Mapping[str, float]]:
    """Returns the baseline of what sold recently and what the buyer bought before, and its numbers.

    These are the model's own terms (docs/model.md) without towers, with numbers chosen on validation like the
    model's."""
    query, candidate = np.zeros((buyers, 1), np.float32), np.zeros((products, 1), np.float32)
    begin = msgspec.structs.replace(START, popularity=1.0)  # without towers no other term knows what sells
    blend = Blend(past, begin, has_prior=True, has_repeats=True)
    chosen = blend.replace(choose_numbers(query, candidate, blend, validation, seed=seed, check=check))
    return Vectors(query, candidate, chosen.terms), chosen.list_used()


class ItemKnn:
    """Scores products by how similar they are to what the buyer bought: similar products have the same buyers.

    A product's vector holds each buyer's purchases of it, weighted by BM25. Similarity is the product of two vectors,
    and each product keeps its `neighbours` most similar ones, including itself. Source: the BM25 recommender of
    https://github.com/benfred/implicit.

    Attributes:
        similar: each product's most similar ones, best first, [products, at most `most`].
        similarity: their similarities, of the same shape.
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
        together = np.diff(past.starts)[owners]  # for each entry, how many products its buyer bought
        for first, last in _to_chunks(np.add.reduceat(together[order], begins[:-1]), products):
            check()
            self._compare(order[begins[first] : begins[last]], first, last, owners)

    def keep(self, neighbours: int) -> "ItemKnn":
        """Returns the same baseline with fewer neighbours."""
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
        # A product similar to nothing has score 0; the shares are too small to change any other order.
        found: Floats = scores.reshape(len(buyers), products) + 1e-9 * self.past.share
        return found

    def _compare(self, entries: npt.NDArray[Any], first: int, last: int, owners: npt.NDArray[Any]) -> None:
        """Finds the neighbours of the products from `first` to before `last`; `entries` are the purchases of these."""
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
    """Returns how many pairs of products item-kNN goes through: those bought by one buyer, counted for each buyer."""
    return int((np.diff(past.starts).astype(np.int64) ** 2).sum())


def _weigh(past: Past, owners: npt.NDArray[Any], products: int) -> npt.NDArray[np.float64]:
    """Returns the BM25 weight of each entry of `past.places`: products are the documents, buyers the terms."""
    lengths = np.bincount(past.places, past.counts, minlength=products)
    rarity = np.log1p(products / (1.0 + np.diff(past.starts)[owners]))  # above 0 even for a buyer of everything
    norm = K1 * (1 - B + B * lengths[past.places] / max(lengths.mean(), 1.0))
    weights: npt.NDArray[np.float64] = past.counts * (K1 + 1) / (norm + past.counts) * rarity
    return weights


def _to_chunks(pairs: npt.NDArray[np.int64], products: int) -> list[tuple[int, int]]:
    """Returns runs of products, each with at most _CHUNK_PAIRS pairs and similarities; at least one product each."""
    chunks, first, held = [], 0, 0
    for place, count in enumerate(pairs):
        if place > first and (held + count > _CHUNK_PAIRS or (place - first + 1) * products > _CHUNK_PAIRS):
            chunks.append((first, place))
            first, held = place, 0
        held += int(count)
    return [*chunks, (first, len(pairs))]
