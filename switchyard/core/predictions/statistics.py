"""Rates with intervals, made of what was counted."""

from collections.abc import Iterable
from datetime import UTC, datetime
from math import sqrt
from typing import Final

import msgspec

from switchyard.core.errors import BadRequest
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
    """Returns the statistics by version and arm, the newest version first."""
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


def read_window(asked: Iterable[tuple[str, str]], *, model: str) -> Window:
    """Returns the window that a question's parameters name; of `model`, where they name none.

    >>> read_window([("since", "2026-01-15"), ("until", "2026-01-16T12:00:00Z")], model="shop").since.isoformat()
    '2026-01-15T00:00:00+00:00'

    Raises: BadRequest: a parameter that is not known, stands twice, or is not a time; all problems at once."""
    problems, found = [], {"model": model}
    times: dict[str, datetime] = {}
    seen: set[str] = set()
    for name, value in asked:
        if name not in ("model", "since", "until"):
            problems.append(f"{name[:40]!r} is not a parameter here: there are model, since and until")
        elif name in seen:
            problems.append(f"{name} is there twice")
        elif name == "model":
            found["model"] = value
        elif (at := _read_time(value)) is None:
            problems.append(
                f"{name} must be a day (2026-01-15, from its beginning in UTC) or a time with its zone "
                f"(2026-01-15T10:30:00Z); got {value[:40]!r}"
            )
        else:
            times[name] = at
        seen.add(name)
    if not found["model"]:
        problems.append("no model is served here at the moment: name one, as model=<name>")
    if problems:
        raise BadRequest("; ".join(problems))
    return Window(model=found["model"], since=times.get("since"), until=times.get("until"))


def _read_time(text: str) -> datetime | None:
    try:
        # A plus sign that was not escaped in an address comes as a blank.
        at = datetime.fromisoformat(text.replace(" ", "+"))
        if at.tzinfo is None and len(text) == len("2026-01-15"):
            at = at.replace(tzinfo=UTC)
        return None if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def to_rate(part: int, whole: int) -> Rate:
    """Returns the rate with its interval by Wilson's score, which stays within 0 and 1 and holds for few cases too.

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
