"""What a comparison on held-out purchases measured, and the judgement of it.

Numbers and thresholds go in, a judgement with its reasons comes out. Who measured, and how, is in
`services.validating`.

docs/registry.md describes the metrics. Each number is rounded to DIGITS, so that the same inputs give the same evidence
on machines that add in another order.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.core.registry.rows import Judgement
from switchyard.core.registry.stages import Validation

FORMAT: Final = 1
DIGITS: Final = 6


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """What a challenger must reach.

    A loss is a share of the champion's number, and counts from the lower end of the interval: a challenger that may be
    worse by more does not pass. Below 0 it must be better by so much.
    """

    k: int = 10  # which of the metrics are judged: recall@k, NDCG@k, coverage@k
    max_recall_loss: float = 0.05
    max_ndcg_loss: float = 0.05
    max_coverage_loss: float = 0.25
    min_recall: float = 0.0
    min_ndcg: float = 0.0
    min_coverage: float = 0.0
    beat_popularity: bool = True  # recall@k surely above that of the most bought products if that is known


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The challenger's number minus another one on the same buyers, and its interval."""

    value: float
    low: float
    high: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One metric; None: there is no champion, or popularity is not known."""

    name: str  # recall, ndcg, coverage
    k: int
    challenger: float
    champion: float | None = None
    popularity: float | None = None
    to_champion: Difference | None = None
    to_popularity: Difference | None = None

    @property
    def title(self) -> str:
        """The metric as people write it: ``recall@10``."""
        return f"{'NDCG' if self.name == 'ndcg' else self.name}@{self.k}"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two versions."""

    version: int
    digest: str
    trained_until: str  # the newest purchase that its training has seen
    said_by: str  # training, or the caller, where the training did not say so
    products: int


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """The purchases that both were asked for."""

    data_uri: str  # empty: made-up ones
    fingerprint: str  # of the rows that are newer than both trainings, as they were read
    first: str  # the oldest of those rows, and the newest
    last: str
    rows: Mapping[str, int]  # read, dropped and why, used
    pairs: int  # distinct (buyer, product)
    buyers: int
    sampled_buyers: int  # how many of them were asked for, drawn by the seed


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """How intervals were made: buyers are drawn with replacement, the same ones for both models."""

    resamples: int
    confidence: float
    seed: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured."""

    challenger: Side
    champion: Side | None
    held_out: HeldOut
    bootstrap: Bootstrap
    measured: tuple[Measured, ...]
    popularity_by: str  # empty: it is not known
    feedback: Mapping[str, Any] | None = None  # of both if there is any


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold, and whether it was reached, in words."""

    name: str
    passed: bool
    said: str


def judge(measured: Sequence[Measured], thresholds: Thresholds, confidence: float) -> tuple[Check, ...]:
    """Returns what the thresholds say of the metrics at `thresholds.k`; all of them must pass."""
    found = {one.name: one for one in measured if one.k == thresholds.k}
    checks: list[Check] = []
    for name, max_loss, least in (
        ("recall", thresholds.max_recall_loss, thresholds.min_recall),
        ("ndcg", thresholds.max_ndcg_loss, thresholds.min_ndcg),
        ("coverage", thresholds.max_coverage_loss, thresholds.min_coverage),
    ):
        checks += _judge_one(found[name], max_loss, least, confidence)
    recall = found["recall"]
    if thresholds.beat_popularity and recall.to_popularity is not None:
        low, words = recall.to_popularity.low, _say_difference(recall.to_popularity, confidence)
        checks.append(
            Check(
                name="recall over popularity",
                passed=low > 0,
                said=f"{recall.title} is {recall.challenger:.4f}, that of the most bought products "
                f"{recall.popularity:.4f}: {words}; its lower end must be above 0",
            )
        )
    return tuple(checks)


def _judge_one(one: Measured, max_loss: float, least: float, confidence: float) -> Iterator[Check]:
    if one.to_champion is not None and one.champion is not None:
        allowed = round(max_loss * one.champion, DIGITS)  # as the numbers themselves: 0.1 * 0.2 is above 0.02
        asked = (
            f"its lower end must be at least {-allowed:+.4f} ({-max_loss:+.0%} of the champion's)"
            if max_loss
            else "its lower end must not be below 0"
        )
        yield Check(
            name=f"{one.name} against the champion",
            passed=one.to_champion.low >= -allowed,
            said=f"{one.title} is {one.challenger:.4f}, the champion's {one.champion:.4f}: "
            f"{_say_difference(one.to_champion, confidence)}; {asked}",
        )
    if least > 0:
        yield Check(
            name=f"least {one.name}",
            passed=one.challenger >= least,
            said=f"{one.title} is {one.challenger:.4f}; it must be at least {least:.4f}",
        )


def _say_difference(difference: Difference, confidence: float) -> str:
    interval = f"{confidence:.0%} interval {difference.low:+.4f} to {difference.high:+.4f}"
    return f"difference {difference.value:+.4f}, {interval}"


def to_judgement(comparison: Comparison, thresholds: Thresholds) -> Judgement:
    """Returns the judgement, with all that it rests on as evidence.

    The same inputs give the same judgement, to the last character.
    """
    checks = judge(comparison.measured, thresholds, comparison.bootstrap.confidence)
    passed = all(check.passed for check in checks)
    evidence = {"format": FORMAT, "checks": checks, "thresholds": thresholds, "comparison": comparison}
    champion = comparison.champion
    return Judgement(
        status=Validation.PASSED if passed else Validation.FAILED,
        digest=comparison.challenger.digest,
        against=champion.version if champion else None,
        against_digest=champion.digest if champion else "",
        evidence=msgspec.json.decode(msgspec.json.encode(evidence)),  # as it is read back
    )


def to_reason(judgement: Judgement, given: str = "") -> str:
    """Returns what the history says in one line: what failed, or that nothing did, after what the person said.

    >>> to_reason(Judgement(evidence={"checks": [{"passed": True, "said": "recall@10 is 0.2"}]}), "nightly")
    'nightly: every threshold was reached'
    """
    failed = [check["said"] for check in judgement.evidence["checks"] if not check["passed"]]
    said = "; ".join(failed) if failed else "every threshold was reached"
    return f"{given}: {said}" if given else said
