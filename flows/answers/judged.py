"""What validate answers: whether the version passed, by which numbers, and why."""

from typing import Any

import msgspec

from switchyard.core.registry.rows import Judgement, Outcome


class ValidateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison said."""

    name: str
    version: int
    status: str  # passed, failed
    against: int | None  # the champion; None: there was none
    checks: list[dict[str, Any]]  # name, passed, said: one a threshold
    measured: list[dict[str, Any]]  # one a metric and k
    held_out: dict[str, Any]  # which purchases: fingerprint, dates, rows
    feedback: dict[str, Any] | None  # what became of both versions' predictions; None: nothing was said of any
    is_new: bool  # False: this very judgement was there already, and nothing was written
    seq: int  # of its line in the model's history; 0: none was written


def to_result(outcome: Outcome, judgement: Judgement) -> ValidateResult:
    """Returns the answer of a flow that kept `judgement`."""
    evidence, compared = judgement.evidence, judgement.evidence.get("comparison", {})
    return ValidateResult(
        name=outcome.name,
        version=outcome.version,
        status=str(judgement.status),
        against=judgement.against,
        checks=evidence.get("checks", []),
        measured=compared.get("measured", []),
        held_out=compared.get("held_out", {}),
        feedback=compared.get("feedback"),
        is_new=outcome.act is not None,
        seq=outcome.seq,
    )
