"""The suite of the port `Decommissions`, on every database and every table of runs."""

import threading
from datetime import timedelta

import msgspec
import pytest

from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.core.decommission.rows import Step, Walk
from switchyard.core.decommission.rules import Rules
from switchyard.core.decommission.states import State
from switchyard.core.errors import BadRecord, NotFound, StaleWrite, catch
from tests.clients.results.older import OLDER, make_schema
from tests.clients.results.places import NOW, Place, to_settings

WALK = Walk(
    name="mlflow",
    walk=1,
    state=State.INVENTORY,
    since=NOW,
    by="ann",
    inventory="sha256:" + "1" * 64,
    rules=Rules(switched_at=NOW, known_callers=("ours/",)),
    revision=0,
)
STEP = Step(walk=1, state=State.SOFT_STOPPED, resource="projects/p", act="stop", outcome="begun", by="ann", at=NOW)


def test_a_decommission_is_begun_once(place: Place) -> None:
    """A second call, and one with an old revision, is refused; a new plan takes its place."""
    port = place.ports.decommissions
    assert port.find("mlflow") is None
    begun = port.begin(WALK, revision=0)
    assert begun == port.find("mlflow") == msgspec.structs.replace(WALK, revision=1)
    with pytest.raises(StaleWrite, match="decommission status"):
        port.begin(WALK, revision=0)
    again = port.begin(msgspec.structs.replace(WALK, walk=2, state=State.INVENTORY), revision=1)
    assert port.find("mlflow") == again == msgspec.structs.replace(WALK, walk=2, revision=2)
    with pytest.raises(StaleWrite):
        port.begin(WALK, revision=1)
    assert port.find("other") is None


def test_a_state_is_written_by_the_holder_alone(place: Place) -> None:
    """Who holds it gives it a new revision, and who held it before can write nothing more."""
    port = place.ports.decommissions
    port.begin(WALK, revision=0)
    held = port.hold("mlflow", revision=1)
    later = NOW + timedelta(hours=1)
    for write in (
        lambda: port.hold("mlflow", revision=1),
        lambda: port.move("mlflow", State.VERIFIED, revision=1, by="bob", now=later),
        lambda: port.change_rules("mlflow", Rules(), revision=1),
        lambda: port.add_step("mlflow", STEP, revision=1),
    ):
        assert isinstance(catch(write), StaleWrite)
    moved = port.move("mlflow", State.VERIFIED, revision=held.revision, by="bob", now=later)
    assert moved == port.find("mlflow")
    assert (moved.state, moved.since, moved.by, moved.revision) == (State.VERIFIED, later, "bob", 3)
    changed = port.change_rules("mlflow", Rules(approvals=2), revision=3)
    assert changed.rules.approvals == 2
    with pytest.raises(NotFound, match="decommission plan"):
        port.hold("other", revision=1)
    assert isinstance(catch(lambda: port.add_step("other", STEP, revision=1)), StaleWrite)


def test_steps_are_added_and_never_change(place: Place) -> None:
    """With ascending numbers, each decommission its own; those of one plan can be asked for."""
    port = place.ports.decommissions
    for name in ("mlflow", "other"):
        port.begin(msgspec.structs.replace(WALK, name=name), revision=0)
    second = msgspec.structs.replace(STEP, walk=2, outcome="done", proof='{"left":{"a\x00":"v2"}}', operation="o/1")
    added = [port.add_step("mlflow", step, revision=1) for step in (STEP, second, STEP)]
    assert [step.seq for step in added] == [1, 2, 3]
    stored = msgspec.structs.replace(added[1], proof='{"left":{"a\ufffd":"v2"}}')
    assert port.list_steps("mlflow") == [added[0], stored, added[2]]
    assert port.list_steps("mlflow", walk=2) == [stored]
    assert port.list_steps("other") == []


def test_of_two_at_once_one_goes_on(place: Place) -> None:
    """The other one is told, and has written nothing."""
    port = place.ports.decommissions
    port.begin(WALK, revision=0)
    found: list[object] = []
    barrier = threading.Barrier(2)

    def hold() -> None:
        barrier.wait()
        found.append(catch(lambda: port.hold("mlflow", revision=1)))

    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(one).__name__ for one in found) == ["StaleWrite", "Walk"]


def test_a_row_of_another_version_is_named(place: Place) -> None:
    """A state or rule that is not known is no guess."""
    place.ports.decommissions.begin(WALK, revision=0)
    place.sql("UPDATE switchyard_decommission SET state = 'sold'")
    with pytest.raises(BadRecord, match="decommission 'mlflow'"):
        place.ports.decommissions.find("mlflow")


@pytest.mark.parametrize("version", OLDER)
def test_databases_of_before_get_the_tables(version: str, tmp_path: object) -> None:
    """The upgrade works from every older schema."""
    url = f"sqlite:///{tmp_path}/results.db"
    make_schema(url, version)
    migrate(to_settings(url))
    ports = open_results(url)
    assert ports.decommissions.begin(WALK, revision=0).revision == 1
    assert ports.decommissions.list_steps("mlflow") == []
    ports.close()
