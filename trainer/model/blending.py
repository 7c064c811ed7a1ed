"""Adds to the towers' score what look-up towers cannot know: what sold recently, and what the buyer bought before.

    score = cosine + temperature * (prior_p + repeat)
    prior = shift * log(r_p / q_p) + popularity * (log q_p - its mean over the products)
    repeat = bought + count * log(1 + n) - recency * log(1 + age) if the buyer bought the product n > 0 times, else 0

q is a product's share of all train purchases; r is its share when recent ones weigh more. docs/model.md has the
formula's source and how the numbers are chosen. Pure numpy; `trainer.model.choosing` chooses the numbers, and
`trainer.model.export` writes them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from switchyard.clients.scoring.weights import BlendWeights, Floats, Repeat, to_moment, to_repeats
from switchyard.core.runs.moments import is_time
from switchyard.core.runs.spec import TrainSpec
from trainer.data.splitting import Dataset, Pairs

SMOOTHING: Final = 0.02
"""The part of q in r: a product that did not sell recently must not get the logarithm of 0."""
AGE_UNITS: Final = 10
"""The train rows cover this many units of age, so that the same numbers suit a year's data and a week's."""
OLDEST: Final = 0.01
"""The share of train rows, the oldest ones, that do not count for the time that the rows cover.

A wrong old date (1970, 1900) would stretch that time until all other rows look equally recent. Older rows count as if
they were at its beginning."""
OWN_SPAN_US: Final = 1e13
"""The time that a source's own numbers are stretched over, if its rows have numbers instead of times.

It is long enough that rounding does not make two different numbers equal."""
_US: Final = 1_000_000


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """The formula's numbers, in units of the softmax's logits.

    `half_life` is the age at which a purchase weighs half, as a part of the time that the train rows cover."""

    half_life: float = 0.02
    shift: float = 0.0
    popularity: float = 0.0
    bought: float = 0.0
    count: float = 0.0
    recency: float = 0.0


@dataclass(frozen=True)
class Terms:
    """What is added to the cosines [buyers, products]: `bias` to each product, `repeats` to those the buyer has bought.

    The products that buyer b has bought ("own" products) are ``places[starts[b]:starts[b + 1]]``, each once.
    """

    bias: Floats | None  # [products]
    starts: npt.NDArray[np.int64]  # [buyers + 1]
    places: npt.NDArray[np.int32]
    repeats: Floats | None  # for each entry of `places`

    def add_to(self, scores: Any, buyers: npt.NDArray[Any]) -> None:
        """Adds the terms to `scores` [buyers, products] in place."""
        if self.bias is not None:
            scores += self.bias
        if self.repeats is not None:
            starts, lengths = self.starts[buyers], self.starts[buyers + 1] - self.starts[buyers]
            rows = np.repeat(np.arange(len(buyers)), lengths)
            own = np.arange(len(rows)) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
            scores[rows, self.places[own]] += self.repeats[own]  # each product of a buyer occurs once

    def hide_own(self) -> "Terms":
        """Returns the same terms with a buyer's own products below all others, to rank what is new to the buyer."""
        hidden = np.full(len(self.places), -np.inf, np.float32)
        return Terms(bias=self.bias, starts=self.starts, places=self.places, repeats=hidden)


class Past:
    """What the train rows say about products and about each buyer.

    Attributes:
        starts, places: see `Terms`.
        counts: for each entry of `places`, how often the buyer bought it.
        last_us: for each entry of `places`, the last time, in microseconds since 1970, see `_to_us`.
        share: each product's share of all train rows, [products].
    """

    def __init__(self, dataset: Dataset, *, temperature: float) -> None:
        self.share = dataset.product_counts / dataset.product_counts.sum()
        self._temperature = temperature
        self._products = dataset.train.products
        times_us = _to_us(dataset.train_times)
        oldest_us = int(np.quantile(times_us, OLDEST, method="higher"))
        self._times_us = np.maximum(times_us, oldest_us)
        self._as_of_us = int(times_us.max())
        self._span_us = max(self._as_of_us - oldest_us, 1)
        products = len(dataset.product_ids)
        keys = dataset.train.buyers.astype(np.int64) * products + self._products
        distinct, position, self.counts = np.unique(keys, return_inverse=True, return_counts=True)
        self.last_us = np.full(len(distinct), np.iinfo(np.int64).min)
        np.maximum.at(self.last_us, position, self._times_us)
        self.places = (distinct % products).astype(np.int32)
        self.starts = np.searchsorted(distinct // products, np.arange(len(dataset.buyer_ids) + 1))

    def to_recent_share(self, half_life: float) -> npt.NDArray[np.float64]:
        """Returns r, [products]: each product's share of purchases, where one that is `half_life` older weighs half."""
        ages = (self._as_of_us - self._times_us) / self._span_us
        recent = np.bincount(self._products, 0.5 ** (ages / half_life), minlength=len(self.share))
        share: npt.NDArray[np.float64] = (1 - SMOOTHING) * recent / recent.sum() + SMOOTHING * self.share
        return share

    def to_prior(self, numbers: Numbers) -> Floats:
        """Returns shift log(r / q) + popularity log q, [products].

        The mean of log q is subtracted, so that scores stay close to cosines."""
        logs = np.log(self.share)
        shift = np.log(self.to_recent_share(numbers.half_life)) - logs
        return np.asarray(numbers.shift * shift + numbers.popularity * (logs - logs.mean()), np.float32)

    def to_weights(self, numbers: Numbers, *, has_prior: bool, has_repeats: bool) -> BlendWeights:
        """Returns the numbers on the scale of cosines, as they are exported, so that training rounds them the same."""
        scale = self._temperature
        repeat = Repeat(
            bought=scale * numbers.bought,
            count=scale * numbers.count,
            recency=scale * numbers.recency,
            as_of=to_moment(self._as_of_us),
            age_unit_s=self._span_us / AGE_UNITS / _US,
        )
        return BlendWeights(cosine=1.0, prior=scale if has_prior else 0.0, repeat=repeat if has_repeats else None)

    def leave_out_own(self, pairs: Pairs) -> Pairs:
        """Returns those of the pairs with a product that is new to the buyer."""
        products = len(self.share)
        owned = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts)) * products + self.places
        is_new = ~np.isin(pairs.buyers.astype(np.int64) * products + pairs.products, owned)
        return Pairs(pairs.buyers[is_new], pairs.products[is_new])


@dataclass(frozen=True)
class Blend:
    """What a training adds to the towers' score: the past, the numbers, and which terms it has."""

    past: Past
    numbers: Numbers
    has_prior: bool
    has_repeats: bool

    @cached_property
    def weights(self) -> BlendWeights:
        """The numbers as they are exported."""
        return self.past.to_weights(self.numbers, has_prior=self.has_prior, has_repeats=self.has_repeats)

    @cached_property
    def prior(self) -> Floats:
        """See `Past.to_prior`."""
        return self.past.to_prior(self.numbers)

    @cached_property
    def terms(self) -> Terms:
        """The terms that are added to cosines."""
        past, repeat = self.past, self.weights.repeat
        return Terms(
            bias=self.prior * np.float32(self.weights.prior) if self.has_prior else None,
            starts=past.starts,
            places=past.places,
            repeats=to_repeats(past.counts, past.last_us, repeat) if repeat else None,
        )

    @cached_property
    def popularity(self) -> Floats:
        """The scores for an unknown buyer, [products]: what sold recently if the score has a prior, else what sold."""
        share = self.past.to_recent_share(self.numbers.half_life) if self.has_prior else self.past.share
        return np.asarray(share, np.float32)

    def list_used(self) -> dict[str, float]:
        """Returns the numbers that the blend's terms use."""
        used = ["half_life", "shift", "popularity"] if self.has_prior else []
        used += ["bought", "count", "recency"] if self.has_repeats else []
        return {name: getattr(self.numbers, name) for name in used}

    def replace(self, numbers: Numbers) -> "Blend":
        """Returns the same blend with other numbers."""
        return Blend(self.past, numbers, self.has_prior, self.has_repeats)


START: Final = Numbers(half_life=0.02, shift=1.0, popularity=0.2, bought=1.0, count=1.2, recency=0.5)
"""The numbers that an epoch's recall is measured with, and that the choice starts from."""


def make_blend(spec: TrainSpec, dataset: Dataset) -> Blend | None:
    """Returns the blend that `spec` asks for, with the numbers of START; None: the score is only the towers'."""
    if not (spec.recent_popularity or spec.own_history):
        return None
    past = Past(dataset, temperature=spec.temperature)
    return Blend(past, START, has_prior=spec.recent_popularity, has_repeats=spec.own_history)


def _to_us(times: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Returns whole microseconds since 1970; a source's own numbers, of any size, are stretched over OWN_SPAN_US."""
    numbers = times.astype(np.float64)
    if not is_time(float(numbers.max())):
        first = float(numbers.min())
        numbers = (numbers - first) / ((float(numbers.max()) - first) or 1.0) * OWN_SPAN_US
    return np.round(numbers).astype(np.int64)
