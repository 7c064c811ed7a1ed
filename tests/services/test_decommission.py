"""A decommission, walked over a deployment in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from switchyard.core.decommission.states import MOVES, State
from switchyard.core.errors import BadRequest
from tests.core.decommission.world import ACCOUNT
from tests.services.decommission_world import OTHERS, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ports.close()


def test_the_walk_goes_from_the_inventory_to_the_bill(world: World) -> None:
    """One state a call; nothing that the plan does not list is touched."""
    before = world.google.look()
    planned = world.plan()
    assert planned.is_new
    seen = []
    while world.walk.state is not State.COST_CHECKED:
        taken = world.next(**world.confirm())
        assert not taken.refusals, taken.refusals
        seen.append(taken.state)
    assert seen == list(MOVES)
    left = world.google.look()
    assert left == {name: before[name] for _, name in OTHERS}
    with pytest.raises(BadRequest, match="decommission record"):
        world.next()
    verbs = [verb for verb, _ in world.google.writes]
    assert verbs == sorted(verbs, key=("prepare", "stop", "delete").index)
    assert world.google.writes[-1] == ("delete", ACCOUNT)
