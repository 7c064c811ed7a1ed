"""Rates with intervals, made of what was counted."""

from collections.abc import Iterable
from datetime import datetime
from math import sqrt
from typing import Final

import msgspec

from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import Kind
from switchyard.core.predictions.rows import Counts, Said, Traffic, Unmatched, Window

CONFIDENCE: Final = 0.95
Z: Final = 1.959963984540054
"""The standard normal's quantile at 0.975."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a whole, and where the true one lies in 95 of 100 cases; from 0 to 1."""

    rate: float
    low: float
    high: float


class KindStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What was said in one kind."""

    kind: Kind
    predictions: int  # of which it was said at least once
    rate: Rate | None  # of all predictions of the group; None: retention has removed them
    feedback: int  # how often it was said
    of_removed: int  # of these: of predictions that retention has removed, which are in no rate
    values: int
    mean_value: float | None


class ArmStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The predictions of a version in an arm, and what was said of them."""

    version: int | None
    arm: Arm
    predictions: int
    fallbacks: int
    kinds: tuple[KindStatistics, ...]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a question for statistics."""

    model: str
    since: datetime | None
    until: datetime | None
    interval: str
    arms: tuple[ArmStatistics, ...]
    unmatched: tuple[Unmatched, ...]


def to_statistics(window: Window, counts: Counts) -> Statistics:
    """By version and arm, the newest version first."""
    groups: dict[tuple[int | None, Arm], Traffic] = {(one.version, one.arm): one for one in counts.traffic}
    of: dict[tuple[int | None, Arm], dict[Kind, list[Said]]] = {}
    for said in (*counts.said, *counts.said_of_removed):
        of.setdefault((said.version, said.arm), {}).setdefault(said.kind, []).append(said)
    arms = []
    for key in sorted({*groups, *of}, key=lambda key: (-(key[0] or 0), key[1])):
        traffic = groups.get(key) or Traffic(version=key[0], arm=key[1], predictions=0, fallbacks=0)
        kinds = of.get(key, {})
        arms.append(
            ArmStatistics(
                version=traffic.version,
                arm=traffic.arm,
                predictions=traffic.predictions,
                fallbacks=traffic.fallbacks,
                kinds=tuple(_to_kind(kind, kinds[kind], traffic.predictions) for kind in Kind if kind in kinds),
            )
        )
    return Statistics(
        model=window.model,
        since=window.since,
        until=window.until,
        interval=f"Wilson score, {CONFIDENCE:.0%}",
        arms=tuple(arms),
        unmatched=tuple(sorted(counts.unmatched, key=lambda one: one.kind)),
    )


def _to_kind(kind: Kind, said: Iterable[Said], predictions: int) -> KindStatistics:
    said = list(said)
    values = sum(one.values for one in said)
    spoken_of = sum(one.predictions for one in said)
    return KindStatistics(
        kind=kind,
        predictions=spoken_of,
        # A row may come between the two counts, so that there are fewer predictions than were spoken of.
        rate=to_rate(spoken_of, max(predictions, spoken_of)) if predictions else None,
        feedback=sum(one.feedback for one in said),
        of_removed=sum(one.feedback for one in said if not one.predictions),
        values=values,
        mean_value=sum(one.total for one in said) / values if values else None,
    )


def to_rate(part: int, whole: int) -> Rate:
    """The rate with its interval by Wilson's score, which stays within 0 and 1 and holds for few cases too.

    >>> rate = to_rate(1, 10)
    >>> f"{rate.rate} from {rate.low:.4f} to {rate.high:.4f}"
    '0.1 from 0.0179 to 0.4042'

    Args:
        part: of `whole`, which is above 0.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927), p. 209;
    as formula (4) in Brown, Cai and DasGupta, Interval Estimation for a Binomial Proportion, Statistical Science 16
    (2001), p. 101.
    """
    rate = part / whole
    scale = 1 + Z * Z / whole
    middle = (rate + Z * Z / (2 * whole)) / scale
    half = Z * sqrt(rate * (1 - rate) / whole + Z * Z / (4 * whole * whole)) / scale
    low = 0.0 if part == 0 else max(0.0, middle - half)
    high = 1.0 if part == whole else min(1.0, middle + half)
    return Rate(rate=rate, low=low, high=high)
