"""A challenger answers its share of the buyers, and never at their cost."""

import threading
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry

import serving.predictions.routing
from serving.predictions.routing import Router
from serving.predictions.state import State
from switchyard.core.errors import BadRequest, TryAgain
from switchyard.core.ports import Models
from switchyard.core.predictions.answers import Recommendation
from switchyard.core.predictions.arms import MIN_CALLS, Arm
from switchyard.core.registry.manifest import ModelFile, to_manifest
from switchyard.core.registry.rows import NewVersion, Promotion, ShareChange, StageMove
from switchyard.core.registry.stages import Act, Stage
from tests.clients.results.places import Place
from tests.serving.predictions.two_models import Scripted, asking, failing, find_buyers, read_number, saying, to_state

LABELS = {"model": "shop", "version": "2"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Between two tries; and no thread outlives its test."""
    monkeypatch.setattr(serving.predictions.routing, "PAUSES_S", (0.0,))
    yield
    join_stopping()


def join_stopping() -> None:
    for thread in threading.enumerate():
        if thread.name == "stopping":
            thread.join(60)
            assert not thread.is_alive()


def no_models() -> Models:
    raise AssertionError("nothing is to be changed")


def make_router(state: State, models: Callable[[], Models] = no_models) -> tuple[Router, CollectorRegistry]:
    registry = CollectorRegistry()
    return Router(models, lambda: state, registry), registry


def test_each_buyer_is_answered_by_the_version_of_the_arm() -> None:
    """The same each time; of a request with both, the block around the predictions is the champion's."""
    champion, challenger = saying("p1"), saying("p2")
    state = to_state(champion, challenger)
    router, _ = make_router(state)
    ours, theirs = find_buyers(Arm.CHAMPION, 3), find_buyers(Arm.CHALLENGER, 3)
    for _ in range(2):
        answered = router.answer(asking(*ours, *theirs, ""), state)
        said = [(one.version, one.arm, one.product_ids[0], one.fallback) for one in answered.predictions]
        assert said == 3 * [(1, "champion", "p1", False)] + 3 * [(2, "challenger", "p2", False)] + [
            (1, "champion", "p1", False)
        ]
        assert (answered.model.version, answered.model.arm) == (1, "champion")
    assert challenger.asked == theirs * 2
    alone = router.answer(asking(theirs[0]), state)
    assert (alone.model.version, alone.model.arm, alone.model.digest) == (2, "challenger", "sha256:2")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_without_a_share_or_a_challenger_the_champion_answers(share: float) -> None:
    """All buyers; no one else is asked."""
    challenger = saying("p2")
    state = to_state(saying("p1"), None if share else challenger, share)
    router, _ = make_router(state)
    answered = router.answer(asking(*find_buyers(Arm.CHALLENGER, 5)), state)
    assert {(one.version, one.arm) for one in answered.predictions} == {(1, "champion")}
    assert challenger.asked == []
    with pytest.raises(TryAgain, match="no model"):
        router.answer(asking("b1"), State())


def say_nan(buyer_id: str) -> Recommendation:
    return Recommendation(product_ids=("p2",), scores=(float("nan"),), known=True)


@pytest.mark.parametrize(
    "challenger", [failing(ValueError("broken")), failing(BadRequest("no purchases")), Scripted(say_nan)]
)
def test_challengers_trouble_is_answered_by_the_champion(challenger: Scripted) -> None:
    """It says so, stays in its arm, and is counted."""
    state = to_state(saying("p1"), challenger)
    router, registry = make_router(state)
    (buyer,) = find_buyers(Arm.CHALLENGER, 1)
    answered = router.answer(asking(buyer), state)
    (said,) = answered.predictions
    assert (said.version, said.arm, said.fallback, said.product_ids) == (1, "challenger", True, ("p1",))
    assert (answered.model.version, answered.model.arm, answered.model.fallback) == (1, "challenger", True)
    assert read_number(registry, "switchyard_challenger_errors_total", **LABELS) == 1


def test_what_the_champion_refuses_too_is_no_error_of_the_challengers() -> None:
    """The request is wrong."""
    state = to_state(failing(BadRequest("k")), failing(BadRequest("k")))
    router, registry = make_router(state)
    for _ in range(MIN_CALLS):
        with pytest.raises(BadRequest):
            router.answer(asking(*find_buyers(Arm.CHALLENGER, 1)), state)
    assert read_number(registry, "switchyard_challenger_errors_total", **LABELS) == 0


def stage(place: Place, share: float = 0.5) -> State:
    """A model whose version 1 is champion and version 2 its failing challenger."""
    for number in (1, 2):
        manifest = to_manifest([ModelFile(path="a", size_bytes=1, sha256=str(number) * 64)], "here")
        new = NewVersion(name="shop", source_key=f"run:{number}", source_uri="file:///a", manifest=manifest)
        place.models.register(new)
    place.models.promote(Promotion(name="shop", version=1, expected=None, force=True, reason="first"))
    place.models.move(StageMove(name="shop", version=2, stage=Stage.STAGING, share=share))
    return to_registered(place)


def to_registered(place: Place) -> State:
    """The state that a server would have by now."""
    model = place.models.read_model("shop")
    return to_state(saying("p1"), failing(ValueError("broken")), model.share, revision=model.revision)


def fail_often(router: Router, state: State, count: int = MIN_CALLS) -> None:
    for buyer in find_buyers(Arm.CHALLENGER, count):
        assert router.answer(asking(buyer), state).predictions[0].version == 1


def test_too_many_errors_set_the_share_to_0(any_place: Place) -> None:
    """In the registry, for all servers, with the reason in the history; here from the next request on."""
    state = stage(any_place)
    router, registry = make_router(state, lambda: any_place.models)
    fail_often(router, state)
    (buyer,) = find_buyers(Arm.CHALLENGER, 1)
    (said,) = router.answer(asking(buyer), state).predictions
    assert (said.arm, said.fallback) == ("champion", False)
    join_stopping()
    assert any_place.models.read_model("shop").share == 0
    line = any_place.models.list_transitions("shop")[-1]
    assert (line.act, line.version, line.share, line.by) == (Act.SHARED, 2, 0.0, "switchyard predict")
    assert line.reason.startswith("50 of its last 50 answers failed")
    assert "broken" in line.reason
    assert read_number(registry, "switchyard_challenger_stops_total", **LABELS) == 1


def test_servers_that_stop_it_at_once_leave_one_line(any_place: Place) -> None:
    """Each by itself finds the same."""
    state = stage(any_place)
    lines = len(any_place.models.list_transitions("shop"))
    for _ in range(3):
        fail_often(make_router(state, lambda: any_place.models)[0], state)
    join_stopping()
    assert len(any_place.models.list_transitions("shop")) == lines + 1


def test_registry_that_is_away_is_asked_again(place: Place) -> None:
    """Meanwhile it answers no one here."""
    state, tries = stage(place), iter([TryAgain("away"), RuntimeError("a bug"), None])

    def connect() -> Models:
        if (err := next(tries)) is not None:
            raise err
        return place.models

    router, _ = make_router(state, connect)
    fail_often(router, state)
    join_stopping()
    assert place.models.read_model("shop").share == 0


def test_share_that_somebody_has_changed_meanwhile_stays(place: Place) -> None:
    """Who did so knows more than this server's record."""
    state = stage(place)
    place.models.share(ShareChange(name="shop", version=2, share=0.25))
    router = Router(lambda: place.models, lambda: to_registered(place), CollectorRegistry())
    fail_often(router, state)
    join_stopping()
    assert place.models.read_model("shop").share == 0.25


def test_challenger_that_gets_a_share_again_begins_a_new_record(place: Place) -> None:
    """It is asked again, and stopped again only after as many answers."""
    state = stage(place)
    router = Router(lambda: place.models, lambda: to_registered(place), CollectorRegistry())
    fail_often(router, state)
    join_stopping()
    place.models.share(ShareChange(name="shop", version=2, share=0.5))
    again = to_registered(place)
    assert router.choose_challenger(again) is again.challenger
    fail_often(router, again, MIN_CALLS - 1)
    assert router.choose_challenger(again) is again.challenger
    fail_often(router, again, 1)
    assert router.choose_challenger(again) is None
    join_stopping()


def test_other_champion_or_version_has_a_record_of_its_own() -> None:
    """Errors of one challenger are not those of the next."""
    state = to_state(saying("p1"), failing(ValueError("broken")))
    router, _ = make_router(state)
    fail_often(router, state, MIN_CALLS - 1)
    other = to_state(saying("p1"), failing(ValueError("broken")), 0.4, revision=6)
    (buyer,) = find_buyers(Arm.CHALLENGER, 1, share=0.4)
    router.answer(asking(buyer), other)
    assert router.choose_challenger(other) is other.challenger
