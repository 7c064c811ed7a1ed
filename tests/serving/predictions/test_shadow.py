"""A challenger in the shadow is asked behind the answers, and only sums are kept."""

import threading

import pytest
from prometheus_client import CollectorRegistry

from serving.predictions.answering import answer
from serving.predictions.shadow import Shadow
from serving.predictions.state import State
from switchyard.core.predictions.answers import Recommendation
from tests.flows.polling import wait_for
from tests.serving.predictions.two_models import Scripted, asking, failing, read_number, saying, to_state

LABELS = {"model": "shop", "version": "2"}


def note(shadow: Shadow, state: State, *buyer_ids: str) -> None:
    request = asking(*buyer_ids)
    shadow.note(request, state, answer(request, state), 0.0)


def test_it_is_compared_with_what_was_answered() -> None:
    """By overlap, scores and time."""
    registry = CollectorRegistry()
    shadow = Shadow(registry)
    challenger = saying("p1", "p9", score=3.0)
    shadow.start()
    note(shadow, to_state(saying("p1", "p2"), challenger, share=0.0), "b1", "b2")
    wait_for(lambda: read_number(registry, "switchyard_shadow_score_drift_count", **LABELS) == 2)
    shadow.stop()
    assert challenger.asked == ["b1", "b2"]
    assert read_number(registry, "switchyard_shadow_overlap_sum", **LABELS) == 1.0
    assert read_number(registry, "switchyard_shadow_overlap_bucket", **LABELS, le="0.4") == 0
    assert read_number(registry, "switchyard_shadow_overlap_bucket", **LABELS, le="0.5") == 2
    assert read_number(registry, "switchyard_shadow_score_drift_sum", **LABELS) == 4.0
    assert read_number(registry, "switchyard_shadow_duration_seconds_count", **LABELS) == 2


def test_it_is_asked_only_without_a_share() -> None:
    """With one it answers; and where there is none, nothing is asked."""
    shadow, challenger = Shadow(CollectorRegistry()), saying("p2")
    note(shadow, to_state(saying("p1"), challenger, share=0.5), "b1")
    note(shadow, to_state(saying("p1"), None, share=0.0), "b1")
    assert len(shadow._waiting) == 0
    assert challenger.asked == []


def test_what_it_cannot_keep_up_with_is_left_out() -> None:
    """Noting never waits: the challenger hangs, and all are noted or counted."""
    registry, hangs, asked = CollectorRegistry(), threading.Event(), threading.Event()

    def hang(buyer_id: str) -> Recommendation:
        asked.set()
        assert hangs.wait(60)
        return Recommendation(product_ids=(), scores=(), known=True)

    shadow = Shadow(registry, waiting=2)
    shadow.start()
    state = to_state(saying("p1"), Scripted(hang), share=0.0)
    note(shadow, state, "b1")
    assert asked.wait(60)
    note(shadow, state, "b2", "b3", "b4")
    note(shadow, state, "b5")
    assert read_number(registry, "switchyard_shadow_dropped_total") == 2
    hangs.set()
    shadow.stop()


def test_its_errors_are_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The next buyer is asked for all the same."""
    registry = CollectorRegistry()
    shadow = Shadow(registry)
    shadow.start()
    note(shadow, to_state(saying("p1"), failing(ValueError("broken")), share=0.0), "b1", "b2", "b3")
    wait_for(lambda: read_number(registry, "switchyard_shadow_errors_total", **LABELS) == 3)
    shadow.stop()
    shadow.stop()
    said = [record.message for record in caplog.records]
    assert said == ["the challenger in the shadow fails: ValueError: broken"]
