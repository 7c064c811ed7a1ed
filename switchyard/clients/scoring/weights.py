"""Defines the content of ``score/weights.json``, and the term for a buyer's own products.

These are what a blended score has beside the cosine. The trainer writes and ranks by them, and predictions answer by
them: one code, so one score.

The formula and where it comes from are in docs/model.md."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Weight = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Repeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much it counts that a buyer has bought a product before."""

    bought: Weight
    count: Weight
    recency: Weight
    as_of: Annotated[datetime, msgspec.Meta(tz=True)]  # ages are counted back from then
    age_unit_s: Annotated[float, msgspec.Meta(gt=0, le=1e12)]


class PlainWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="version", tag=1):
    """Version 1: the prior alone, also for unknown buyers."""

    cosine: Weight
    prior: Weight = 0.0


class BlendWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="version", tag=2):
    """Version 2: unknown buyers are answered by the share in prior.parquet, and own products may count."""

    cosine: Weight
    prior: Weight = 0.0
    repeat: Repeat | None = None


Weights = PlainWeights | BlendWeights


def to_repeats(counts: npt.NDArray[Any], last_us: npt.NDArray[Any], weights: Repeat) -> Floats:
    """Returns what is added to a buyer's score of a product that the buyer bought before.

    It was bought `counts` times, the last time at `last_us` microseconds since 1970; both [rows], whole numbers.

        bought + count * log(1 + n) - recency * log(1 + age)

    A purchase after `as_of` has the age 0.

    >>> at = datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC)
    >>> weights = Repeat(bought=1.0, count=0.0, recency=1.0, as_of=at, age_unit_s=1.0)
    >>> to_repeats(np.array([1, 1]), np.array([3_000_000, 2_000_000]), weights).round(2).tolist()
    [1.0, 0.3100000023841858]
    """
    as_of_us = (weights.as_of - _EPOCH) // timedelta(microseconds=1)
    ages = np.maximum(as_of_us - last_us, 0) / (weights.age_unit_s * 1e6)
    found = weights.bought + weights.count * np.log1p(counts) - weights.recency * np.log1p(ages)
    return np.asarray(found, np.float32)


def to_moment(us: int) -> datetime:
    """Returns the time that is as many microseconds after 1970, in UTC."""
    return _EPOCH + timedelta(microseconds=us)
