"""The registry under several promoters at once: one Production, always, and a history without a gap."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.results.places import Place
from tests.clients.results.process import Processes, open_processes
from tests.clients.results.promoters import PROMOTERS, ROLLBACKS, check, race

TABLES = ("models", "model_versions", "model_files", "model_transitions")


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with open_processes() as opened:
        yield opened


def look(place: Place) -> list[list[Any]]:
    return [place.sql(f"SELECT * FROM switchyard_{table} ORDER BY 1, 2, 3") for table in TABLES]


def kill_everywhere(place: Place, processes: Processes, act: str, **given: Any) -> int:
    """Kills `act` after its first statement, its second, ... until one lives to its end; how often it was killed."""
    before = look(place)
    for die_after in range(1, 40):
        (ended,) = processes.run(act, {"url": place.url, "table": place.table, **given, "die_after": die_after})
        if ended.returncode == 0:
            assert look(place) != before
            return die_after - 1
        assert ended.returncode == -signal.SIGKILL
        assert look(place) == before
    raise AssertionError("it never came to its end")


def test_register_is_killed_between_its_statements(own_place: Place, processes: Processes) -> None:
    """Before its end nothing of it is there, not even the model; the next one has the next number, without a gap."""
    assert kill_everywhere(own_place, processes, "register", source="run:1") >= 7
    assert kill_everywhere(own_place, processes, "register", source="run:2") >= 7
    assert [version.version for version in own_place.models.list_versions("killed")] == [2, 1]
    assert [line.seq for line in own_place.models.list_transitions("killed")] == [1, 2]


def test_promotion_is_killed_between_its_statements(own_place: Place, processes: Processes) -> None:
    """Before its end the old champion answers; the same request is done once after it."""
    at = {"url": own_place.url, "table": own_place.table}
    for number in (1, 2):
        processes.run("register", {**at, "source": f"run:{number}"})
    assert kill_everywhere(own_place, processes, "promote", version=1, expected=None) >= 8
    assert kill_everywhere(own_place, processes, "promote", version=2, expected=1) >= 10
    after = look(own_place)
    (again,) = processes.run("promote", {**at, "version": 2, "expected": 1})
    assert again.said == "5"
    assert look(own_place) == after
    assert own_place.models.read_model("killed").production == 2


def test_rollback_and_move_are_killed_between_their_statements(own_place: Place, processes: Processes) -> None:
    """Before its end nothing of it is there; the same request is done once after it."""
    at = {"url": own_place.url, "table": own_place.table}
    for number in (1, 2, 3, 4):
        processes.run("register", {**at, "source": f"run:{number}"})
    processes.run("promote", {**at, "version": 1, "expected": None})
    processes.run("promote", {**at, "version": 2, "expected": 1})
    assert kill_everywhere(own_place, processes, "move", version=3) >= 8
    assert kill_everywhere(own_place, processes, "move", version=4) >= 10
    assert kill_everywhere(own_place, processes, "roll_back", expected=2) >= 10
    after = look(own_place)
    (again,) = processes.run("roll_back", {**at, "expected": 2})
    (moved,) = processes.run("move", {**at, "version": 3})
    assert (again.said, moved.said) == ("12", "8")
    assert look(own_place) == after
    model = own_place.models.read_model("killed")
    assert (model.production, model.previous, model.challenger) == (1, None, 4)


def test_races_of_promoters_and_rollbacks_leave_one_production(own_place: Place) -> None:
    """Never two, never none in between; who lost was told who won."""
    seen = race(own_place, 200)
    check(own_place, seen, 200)
    assert seen.said["promoted"] >= 100
    assert seen.said["lost"] >= 200


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_thousand_races(own_place: Place) -> None:
    """As above, more often. Prints what was answered and seen: `make test-races` shows it."""
    seen = race(own_place, 1_000)
    print(f"{own_place.url.partition(':')[0]}: {PROMOTERS} promoters and {ROLLBACKS} rollbacks, 1,000 races")
    print("answered:", ", ".join(f"{said} {count:,}" for said, count in seen.said.most_common()))
    print("looks, by the versions in Production:", dict(seen.productions))
    print("a loser was told:", seen.losers[-1])
    check(own_place, seen, 1_000)
    assert seen.said.total() == 1_000 * (PROMOTERS + ROLLBACKS)
