"""A decommission that is broken off before any of its effects, or meets each kind of trouble at each act.

No process is killed here: an exception that nothing may catch ends the call in memory, before the effect, and what it
left in the database, the folder and the deployment is what the next call finds.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from switchyard.core.decommission.rows import Step
from switchyard.core.decommission.states import State
from switchyard.core.errors import BadRequest, BadSetup, StaleWrite, SwitchyardError, TryAgain, TryLater
from tests.services.decommission_world import Killed, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ports.close()


Stage = Callable[[World], object]


def plan(world: World) -> object:
    return world.plan()


def go_on(world: World) -> object:
    return world.next(**world.confirm())


def undo(world: World) -> object:
    return world.undo()


STAGES: list[tuple[str, State | None, Stage]] = [
    ("plan", None, plan),
    ("verified", State.INVENTORY, go_on),
    ("exported and drilled", State.VERIFIED, go_on),
    ("quiet", State.EXPORTED, go_on),
    ("soft stopped", State.QUIET, go_on),
    ("quiet again", State.SOFT_STOPPED, go_on),
    ("approved", State.QUIET_AGAIN, go_on),
    ("deleting", State.APPROVED, go_on),
    ("gone", State.DELETING, go_on),
    ("cost checked", State.GONE, go_on),
    ("undo of the stop", State.SOFT_STOPPED, undo),
    ("undo of the deletion", State.DELETING, undo),
]


def look(world: World) -> dict[str, Any]:
    """All that a walk leaves, without times and numbers."""
    walk = world.ports.decommissions.find("mlflow")
    return {
        "google": world.google.look(),
        "kept": world.google.kept,
        "state": walk and (walk.state, walk.inventory, walk.rules, walk.walk),
        "done": sorted({(s.act, s.resource) for s in world.steps if s.resource and s.outcome == "done"}),
        "files": sorted(path.name for path in world.folder.glob("decommission/*")),
    }


def reach(world: World, state: State | None) -> None:
    if state is not None:
        world.plan()
        if state is not State.INVENTORY:
            world.go(state)


def settle(world: World, stage: Stage) -> None:
    """The same command again, as a person types it until it is through."""
    for _ in range(5):
        try:
            stage(world)
        except TryAgain:
            world.wait(10)
        else:
            return
    raise AssertionError("it is never through")


@pytest.mark.parametrize(("name", "state", "stage"), STAGES, ids=[stage[0] for stage in STAGES])
def test_a_walk_killed_anywhere_ends_as_an_uninterrupted_one(
    world: World, name: str, state: State | None, stage: Stage
) -> None:
    """Before each effect: on Google Cloud, in the database, in the folder."""
    reach(world, state)
    saved = world.save()
    world.faults.count = 0
    stage(world)
    whole, effects = look(world), world.faults.count
    assert effects >= 2
    for at in range(effects):  # before it; after it is before the next one
        world.load(saved)
        if name == "plan":
            for file in world.folder.glob("decommission/*"):
                file.unlink()
        world.faults.at = at
        with pytest.raises(Killed):
            stage(world)
        broken_at = world.faults.seen[-1]
        world.faults.at = -1
        settle(world, stage)
        assert look(world) == whole, broken_at


ACTS = [("soft stopped", State.QUIET), ("deleting", State.APPROVED)]


@pytest.mark.parametrize(("name", "state"), ACTS, ids=[act[0] for act in ACTS])
@pytest.mark.parametrize("after", [False, True], ids=["refused", "its answer lost"])
def test_what_passes_by_itself_ends_as_if_it_had_not_been(world: World, name: str, state: State, after: bool) -> None:
    """An outage, a quota, an answer that was lost: at each act, and none is done twice."""
    reach(world, state)
    saved = world.save()
    go_on(world)
    whole = look(world)
    for at in list_effects(world, saved):
        world.load(saved)
        world.faults.at, world.faults.after, world.faults.error = at, after, TryAgain("503: try again")
        with pytest.raises(TryAgain):
            go_on(world)
        assert not [step for step in world.steps if step.outcome == "stopped"]
        world.faults.at = -1
        settle(world, go_on)
        assert look(world) == whole, (at, after)


def list_effects(world: World, saved: Any) -> list[int]:
    """The numbers of the effects on Google Cloud, in one uninterrupted stage."""
    world.load(saved)
    go_on(world)
    return [n for n, said in enumerate(world.faults.seen) if said.startswith(("prepare", "stop", "delete"))]


TROUBLES: list[SwitchyardError] = [
    BadSetup("403: the permission run.services.delete is missing"),
    StaleWrite("409: another etag is there"),
    BadRequest("400: the instance is protected"),
    TryLater("429: the quota of today is used up"),
]


def stops(world: World) -> list[Step]:
    return [step for step in world.steps if step.outcome == "stopped"]


@pytest.mark.parametrize(("name", "state"), ACTS, ids=[act[0] for act in ACTS])
@pytest.mark.parametrize("trouble", TROUBLES, ids=[type(one).__name__ for one in TROUBLES])
def test_what_does_not_pass_stops_the_walk_by_name(
    world: World, name: str, state: State, trouble: SwitchyardError
) -> None:
    """At each act: nothing after it is done, the steps say why, and once it is away the walk ends as ever."""
    reach(world, state)
    saved = world.save()
    go_on(world)
    whole = look(world)
    for at in list_effects(world, saved):
        world.load(saved)
        before = len(world.google.writes)
        world.faults.at, world.faults.error = at, trouble
        with pytest.raises(type(trouble), match=str(trouble)[:3]):
            go_on(world)
        said = world.faults.seen[at].split(" ", 1)
        assert len(world.google.writes) == before + list_effects_before(world, at)
        if not isinstance(trouble, TryLater):
            (step,) = stops(world)[-1:]
            assert (step.act, step.resource) == (said[0], said[1])
            assert str(trouble) in step.proof
        world.faults.at = -1
        settle(world, go_on)
        assert look(world) == whole, at


def list_effects_before(world: World, at: int) -> int:
    return sum(said.startswith(("prepare", "stop", "delete")) for said in world.faults.seen[:at])


@pytest.mark.parametrize(("verb", "state"), [("stop", State.QUIET), ("delete", State.APPROVED)])
def test_an_operation_that_ends_in_error_stops_the_walk_by_name(world: World, verb: str, state: State) -> None:
    """The next call tries it again, once."""
    reach(world, state)
    saved = world.save()
    go_on(world)
    whole = look(world)
    world.load(saved)
    world.google.failing.add(verb)
    with pytest.raises(TryLater, match="INTERNAL: try it again"):
        go_on(world)
    (step,) = stops(world)
    assert "INTERNAL" in step.proof
    world.google.failing.clear()
    settle(world, go_on)
    assert look(world) == whole
