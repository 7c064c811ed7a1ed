"""What a try of a verify batch has found is in the ledger: for the next try, wherever that is, and for giving up."""

from collections import Counter
from datetime import timedelta

import pytest

from switchyard.core.errors import TryAgain
from switchyard.core.verify.batches import VerifyBatch, to_found_prefix
from switchyard.core.verify.findings import State, VerifiedRun
from switchyard.services import verify as verifying
from switchyard.services.verify import forget_found, give_up_rows, verify_rows
from tests.services.verify_tries import RUNS_AT_ONCE, WatchedOutside, run_killed_try
from tests.services.verify_world import World

KILLS = [("after", 1, 0), ("before", 2, 0), ("after", 2, 2), ("before", 4, 2)]
"""When a try dies: before or after that write of the ledger, and how many runs it has found by then. Of some runs the
ledger's own lines are written first, then what was found."""


@pytest.fixture(autouse=True)
def some_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads few runs at once, so that a try can end between them."""
    monkeypatch.setattr(verifying, "WHOLE_RUNS", RUNS_AT_ONCE)


def make_batch(world: World, key: str = "k") -> VerifyBatch:
    return VerifyBatch(rows=world.outside.ledger.list_backfill(), whole=True, found_kind=f"{to_found_prefix(key)}1")


def try_batch(outside: WatchedOutside, batch: VerifyBatch) -> dict[int, VerifiedRun]:
    found = verify_rows(outside, batch.rows, whole=batch.whole, found_kind=batch.found_kind)
    assert len({run.quick_test_id for run in found}) == len(found)
    return {run.quick_test_id: run for run in found}


def break_off(world: World, batch: VerifyBatch, after: int) -> list[str]:
    """Runs a try with an MLflow that goes away after a number of runs; returns the runs that it was asked for."""
    outside = WatchedOutside(world.outside, after)
    with pytest.raises(TryAgain):
        try_batch(outside, batch)
    return outside.store.asked


def find_all(world: World) -> dict[int, VerifiedRun]:
    """What a verify that nothing breaks off finds."""
    return {world.ids[case]: run for case, run in world.verify().items()}


@pytest.mark.parametrize(("when", "count", "found"), KILLS)
def test_a_try_after_a_kill_compares_only_what_was_not_yet_found(
    world: World, when: str, count: int, found: int
) -> None:
    """In another process than the one that was killed, with the same answer as if there had been no kill."""
    batch, expected = make_batch(world), find_all(world)
    run_killed_try(world.outside, batch, when, count)
    kept = {line.quick_test_id for line in world.outside.ledger.read_ledger(batch.found_kind)}
    assert len(kept) == found
    outside = WatchedOutside(world.outside)
    assert try_batch(outside, batch) == expected
    assert sorted(outside.store.asked) == sorted(row.mlflow_run_id for row in batch.rows if row.id not in kept)
    lines = {line.quick_test_id: line.state for line in world.outside.ledger.read_ledger("verify")}
    assert lines == {id_: run.state for id_, run in expected.items()}


def test_a_batch_given_up_after_a_kill_keeps_what_was_found(world: World) -> None:
    """Only the other runs have the error; a second call answers, and writes, the same."""
    batch, expected = make_batch(world), find_all(world)
    run_killed_try(world.outside, batch, "after", 4)
    for _ in range(2):
        given_up = give_up_rows(world.outside, batch.rows, "MLflow is away", found_kind=batch.found_kind)
        assert sorted(run.quick_test_id for run in given_up) == sorted(expected)
        unread = {run.quick_test_id for run in given_up if run.state is State.UNREAD}
        assert len(unread) == len(expected) - 2 * RUNS_AT_ONCE
        assert all(run == expected[run.quick_test_id] for run in given_up if run.quick_test_id not in unread)
        lines = Counter(line.state for line in world.outside.ledger.read_ledger("verify"))
        assert lines[State.UNREAD] == len(unread)


def test_many_tries_compare_each_run_once(world: World) -> None:
    """Each goes on where the one before was broken off."""
    batch, expected = make_batch(world), find_all(world)
    asked = [len(break_off(world, batch, 2 * RUNS_AT_ONCE)) for _ in range(3)]
    assert asked == [len(expected) - 2 * RUNS_AT_ONCE * number for number in range(3)]
    assert try_batch(WatchedOutside(world.outside), batch) == expected
    again = WatchedOutside(world.outside)  # as after an answer that was lost
    assert try_batch(again, batch) == expected
    assert again.store.asked == []


def test_two_verifies_at_once_do_not_mix(world: World) -> None:
    """What one has found is neither taken for the other's, nor written over by it."""
    one, other, expected = make_batch(world, "one"), make_batch(world, "other"), find_all(world)
    break_off(world, one, 4)
    world.sql("UPDATE quick_tests SET training_history_json = NULL WHERE id = :id", id=world.ids[world.normal])
    assert break_off(world, other, 2) == [row.mlflow_run_id for row in other.rows]
    given_up = {run.quick_test_id: run for run in give_up_rows(
        world.outside, one.rows, "away", found_kind=one.found_kind)}  # fmt: skip
    kept = {id_ for id_, run in given_up.items() if run.state is not State.UNREAD}
    assert len(kept) == 4
    assert all(given_up[id_] == expected[id_] for id_ in kept)
    assert try_batch(WatchedOutside(world.outside), other)[world.ids[world.normal]].state is State.UNPUBLISHED


def test_a_run_whose_emptiness_is_not_known_yet_is_looked_at_again(world: World) -> None:
    """It was found without a charted metric, and a kill came before all its keys were read."""
    rows = [row for row in world.outside.ledger.list_backfill() if row.id == world.ids["killed_empty"]]
    batch = VerifyBatch(rows=rows, whole=False, found_kind="verify/k/1")
    expected = world.verify("killed_empty", whole=False)["killed_empty"]
    run_killed_try(world.outside, batch, "after", 2)
    (given_up,) = give_up_rows(world.outside, rows, "away", found_kind=batch.found_kind)
    assert (given_up.state, given_up.reason) == (State.UNREAD, "away")
    outside = WatchedOutside(world.outside)
    assert try_batch(outside, batch) == {expected.quick_test_id: expected}
    assert outside.store.asked == [expected.mlflow_run_id]


def test_what_was_found_is_cleared_with_its_manifest(world: World) -> None:
    """Another verify's stays, unless it is a week old and no manifest came of it; the ledger's own lines stay."""
    mine, other = make_batch(world, "mine"), make_batch(world, "other")
    for batch in (mine, other):
        break_off(world, batch, 4)
    own = world.outside.ledger.read_ledger("verify")
    assert len(own) == 4

    def count() -> tuple[int, int]:
        return tuple(len(world.outside.ledger.read_ledger(batch.found_kind)) for batch in (mine, other))  # type: ignore[return-value]

    written = own[0].updated_at
    for _ in range(2):
        forget_found(world.outside, "mine", now=written)
        assert count() == (0, 4)
    forget_found(world.outside, "mine", now=written + timedelta(days=8))
    assert count() == (0, 0)
    assert world.outside.ledger.read_ledger("verify") == own


def test_nothing_is_kept_of_a_call_that_has_no_other(world: World) -> None:
    """Without a kind of lines: only the ledger's own."""
    find_all(world)
    assert {row.kind for row in world.sql("SELECT DISTINCT kind FROM switchyard_ledger")} == {"backfill", "verify"}
