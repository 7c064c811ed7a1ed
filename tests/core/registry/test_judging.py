"""What numbers and thresholds say together, as a table of values."""

from typing import Any

import msgspec
import pytest

from switchyard.core.registry.judging import (
    Bootstrap,
    Comparison,
    Difference,
    HeldOut,
    Measured,
    Side,
    Thresholds,
    judge,
    to_judgement,
    to_reason,
)
from switchyard.core.registry.rows import Judgement
from switchyard.core.registry.stages import Validation


def metric(name: str, low: float = 0.0, k: int = 10, **more: Any) -> Measured:
    fields = {"challenger": 0.2, "champion": 0.2, "to_champion": Difference(value=low + 0.01, low=low, high=low + 0.02)}
    return Measured(name=name, k=k, **{**fields, **more})


def measured(**changed: Measured) -> list[Measured]:
    names = ("recall", "ndcg", "coverage")
    # At other k everything is bad: what is judged is the one that was asked for.
    return [*(metric(name, -0.2, k=5) for name in names), *(changed.get(name, metric(name)) for name in names)]


ALONE: dict[str, Any] = {"champion": None, "to_champion": None}
TABLE: list[tuple[dict[str, Measured], dict[str, Any], list[str]]] = [
    # What is measured, the thresholds, and the names of what fails.
    ({}, {}, []),
    ({"recall": metric("recall", -0.01)}, {}, []),  # 5 % of 0.2
    ({"recall": metric("recall", -0.010001)}, {}, ["recall against the champion"]),
    ({"recall": metric("recall", -0.000001)}, {"max_recall_loss": 0.0}, ["recall against the champion"]),
    ({"recall": metric("recall", 0.0)}, {"max_recall_loss": 0.0}, []),
    ({"recall": metric("recall", 0.019)}, {"max_recall_loss": -0.1}, ["recall against the champion"]),
    ({"recall": metric("recall", 0.02)}, {"max_recall_loss": -0.1}, []),
    ({"ndcg": metric("ndcg", -0.011)}, {}, ["ndcg against the champion"]),
    ({"coverage": metric("coverage", -0.05)}, {}, []),
    ({"coverage": metric("coverage", -0.051)}, {}, ["coverage against the champion"]),
    (
        {"recall": metric("recall", -0.1), "coverage": metric("coverage", -0.1)},
        {},
        ["recall against the champion", "coverage against the champion"],
    ),
    ({}, {"min_recall": 0.2, "min_ndcg": 0.2, "min_coverage": 0.2}, []),
    ({}, {"min_recall": 0.21}, ["least recall"]),
    ({}, {"min_coverage": 0.21}, ["least coverage"]),
    # A champion that never was right is no reason to refuse one that is not worse.
    ({"recall": metric("recall", 0.0, champion=0.0)}, {}, []),
    ({"recall": metric("recall", -0.001, champion=0.0)}, {}, ["recall against the champion"]),
    # The first version has no champion.
    ({"recall": metric("recall", **ALONE)}, {}, []),
    ({"recall": metric("recall", **ALONE)}, {"min_recall": 0.3}, ["least recall"]),
    (
        {"recall": metric("recall", popularity=0.1, to_popularity=Difference(value=0.1, low=0.0, high=0.2), **ALONE)},
        {},
        ["recall over popularity"],
    ),
    (
        {"recall": metric("recall", popularity=0.1, to_popularity=Difference(value=0.1, low=0.01, high=0.2))},
        {},
        [],
    ),
    (
        {"recall": metric("recall", popularity=0.1, to_popularity=Difference(value=-0.1, low=-0.2, high=-0.01))},
        {"beat_popularity": False},
        [],
    ),
]


@pytest.mark.parametrize(("changed", "thresholds", "failed"), TABLE)
def test_judgement_is_what_the_table_says(
    changed: dict[str, Measured], thresholds: dict[str, Any], failed: list[str]
) -> None:
    """Each threshold by itself, at the k that is judged; the lower end of the interval counts."""
    checks = judge(measured(**changed), Thresholds(**thresholds), 0.95)
    assert [check.name for check in checks if not check.passed] == failed


def test_reasons_are_in_plain_words() -> None:
    """With both numbers, the interval, and what was asked for."""
    checks = judge(measured(recall=metric("recall", -0.02)), Thresholds(), 0.95)
    assert checks[0].said == (
        "recall@10 is 0.2000, the champion's 0.2000: difference -0.0100, 95% interval -0.0200 to +0.0000; its lower "
        "end must be at least -0.0100 (-5% of the champion's)"
    )


def compared(*, champion: bool = True, **changed: Measured) -> Comparison:
    sides = [
        Side(version=number, digest=f"sha256:{number}", trained_until="2026-01-01", said_by="training", products=9)
        for number in (1, 2)
    ]
    return Comparison(
        challenger=sides[1],
        champion=sides[0] if champion else None,
        held_out=HeldOut(
            data_uri="file:///new.csv",
            fingerprint="sha256:9",
            first="2026-01-02",
            last="2026-01-03",
            rows={"rows_read": 9},
            pairs=8,
            buyers=7,
            sampled_buyers=7,
        ),
        bootstrap=Bootstrap(resamples=100, confidence=0.95, seed=7),
        measured=tuple(measured(**changed)),
        popularity_by="",
    )


def test_evidence_is_whole_and_the_same_again() -> None:
    """Both digests, thresholds, numbers and the purchases' fingerprint; as it is read back from JSON."""
    judgement = to_judgement(compared(), Thresholds())
    assert (judgement.status, judgement.digest) == (Validation.PASSED, "sha256:2")
    assert (judgement.against, judgement.against_digest) == (1, "sha256:1")
    comparison = judgement.evidence["comparison"]
    assert comparison["held_out"]["fingerprint"] == "sha256:9"
    assert comparison["champion"]["digest"] == "sha256:1"
    assert judgement.evidence["thresholds"]["max_recall_loss"] == 0.05
    assert to_judgement(compared(), Thresholds()) == judgement
    assert msgspec.json.decode(msgspec.json.encode(judgement), type=Judgement) == judgement


def test_judgement_fails_where_one_threshold_is_missed() -> None:
    """And the history's line says which, after what the person said."""
    judgement = to_judgement(compared(recall=metric("recall", -0.2)), Thresholds())
    assert judgement.status is Validation.FAILED
    assert to_reason(judgement, "nightly").startswith("nightly: recall@10 is 0.2000")
    alone = to_judgement(compared(champion=False), Thresholds())
    assert (alone.against, alone.against_digest) == (None, "")
