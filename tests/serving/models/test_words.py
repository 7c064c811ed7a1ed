"""Lines of a history in words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from serving.models.view import to_entry, to_judged
from serving.models.words import say_line, say_size
from switchyard.core.registry.rows import Transition
from switchyard.core.registry.stages import Act, Stage

NONE, STAGING, PRODUCTION, ARCHIVED = Stage.NONE, Stage.STAGING, Stage.PRODUCTION, Stage.ARCHIVED
FAILED = {"status": "failed", "against": 2, "evidence": {"a": 1}}


def line(act: Act, from_stage: Stage, to_stage: Stage, **more: Any) -> Transition:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return Transition(name="shop", seq=1, version=3, act=act, from_stage=from_stage, to_stage=to_stage, at=at, **more)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (line(Act.REGISTERED, NONE, NONE), "registered"),
        (line(Act.VALIDATED, NONE, NONE, evidence=FAILED), "failed against version 2"),
        (line(Act.VALIDATED, NONE, NONE, evidence={"status": 7}), "compared"),
        (
            line(Act.MOVED, NONE, STAGING, share=0.05, replaced=2),
            "moved from None to Staging, with 5 % of the traffic, in the place of version 2",
        ),
        (line(Act.MOVED, NONE, STAGING, share=0.0), "moved from None to Staging, with no traffic: it is only asked"),
        (line(Act.MOVED, PRODUCTION, ARCHIVED), "moved from Production to Archived"),
        (line(Act.SHARED, STAGING, STAGING, share=0.1), "given 10 % of the traffic"),
        (
            line(Act.PROMOTED, STAGING, PRODUCTION, replaced=2),
            "promoted from Staging to Production, in the place of version 2",
        ),
        (line(Act.PROMOTED, NONE, PRODUCTION), "promoted from None to Production"),
        (
            line(Act.ROLLED_BACK, ARCHIVED, PRODUCTION, replaced=4),
            "brought back to Production by a rollback, in the place of version 4",
        ),
        (line(Act.REPLACED, PRODUCTION, ARCHIVED), "moved from Production to Archived"),
        (line(Act.IMPORTED, NONE, PRODUCTION), "imported as Production"),
        (line(Act.IMPORTED, NONE, NONE), "imported"),
        (line("later", NONE, ARCHIVED), "later, from None to Archived"),  # type: ignore[arg-type]  # of a later version
        (line(Act.TOMBSTONED, NONE, NONE), "tombstoned: it never answers again"),
    ],
)
def test_line_in_words(made: Transition, said: str) -> None:
    """Each act."""
    assert say_line(made) == said


def test_every_act_has_words() -> None:
    """A new one is said by its own name, and named above."""
    for act in Act:
        assert say_line(line(act, NONE, NONE))


def test_reason_that_only_says_the_verdict_again_is_left_out() -> None:
    """Another one is shown; the comparison that let a version through too."""
    entry = to_entry(line(Act.VALIDATED, NONE, NONE, evidence=FAILED, reason="failed"))
    assert (entry.reason, entry.compared) == ("", "")
    assert to_entry(line(Act.VALIDATED, NONE, NONE, evidence=FAILED, reason="too slow")).reason == "too slow"
    other = to_entry(line(Act.MOVED, NONE, STAGING, evidence={"from": "elsewhere"}))
    assert other.kept is not None
    assert [group.values for group in other.kept.groups] == [[("from", "elsewhere")]]
    forced = to_entry(line(Act.PROMOTED, NONE, PRODUCTION, evidence=FAILED, reason="needed", forced=True))
    assert (forced.reason, forced.compared) == ("needed", "failed against version 2")


@pytest.mark.parametrize(
    "kept", [{}, {"evidence": [1]}, {"evidence": None}, {"status": None, "later": {"a": 1}}, FAILED]
)
def test_judged_line_of_any_shape_is_shown(kept: dict[str, Any]) -> None:
    """What is not where it is expected is shown where it is."""
    judged = to_judged(line(Act.VALIDATED, NONE, NONE, evidence=kept))
    shown = [name for group in judged.evidence.groups for name, _ in group.values]
    assert judged.status == (kept.get("status") or "compared")
    assert ("a" in shown) == ("later" in kept or kept is FAILED)


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 bytes"), (1_500, "1.5 kB"), (123_456_789, "123 MB"), (10**18, "1e+06 TB")]
)
def test_size_in_words(size: int, said: str) -> None:
    """Three digits."""
    assert say_size(size) == said
