"""Verify finds every planted corruption of what is published, and names run, key and epoch."""

import gzip
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from switchyard.core.verify.findings import State
from tests.clients.mlflow.stores import DBL_MAX
from tests.services.verify_world import NORMAL, Found, World, find, places

A, B = NORMAL


def swap_rows(world: World, column: str, table: str = "quick_tests", id_column: str = "id") -> None:
    one, other = ({"id": world.ids[name]} for name in (A, B))
    ((first,),) = world.sql(f"SELECT {column} FROM {table} WHERE {id_column} = :id", **one)
    ((second,),) = world.sql(f"SELECT {column} FROM {table} WHERE {id_column} = :id", **other)
    for value, row in ((second, one), (first, other)):
        world.sql(f"UPDATE {table} SET {column} = :value WHERE {id_column} = :id", value=value, **row)


def swap_all(world: World) -> None:
    """Everything that is published, as if each had been published as the other."""
    swap_rows(world, "training_history_json")
    for column in ("charted_digest", "full_digest", "series_digests"):
        swap_rows(world, column, "switchyard_published", "quick_test_id")
    for old, new in ((world.ids[A], -1), (world.ids[B], world.ids[A]), (-1, world.ids[B])):
        if new == -1:
            world.sql(
                "INSERT INTO switchyard_published SELECT -1, charted_digest, full_digest, series_digests, etag, "
                "status, rank_attempt, rank_restart, rank_epochs, rank_status, cached_at, published_at, "
                "digest_version, mapping_version, rules FROM switchyard_published WHERE quick_test_id = :old",
                old=old,
            )
        for table in ("switchyard_histograms", "switchyard_series", "switchyard_values"):
            world.sql(f"UPDATE {table} SET quick_test_id = :new WHERE quick_test_id = :old", new=new, old=old)


SWAPS: dict[str, Callable[[World], None]] = {
    "the histories": lambda world: swap_rows(world, "training_history_json"),
    "the rows' MLflow runs": lambda world: swap_rows(world, "mlflow_run_id"),
    "all that is published": swap_all,
}


@pytest.mark.parametrize("name", SWAPS)
def test_two_runs_swapped_are_both_named(kept: World, name: str) -> None:
    """Whatever was swapped: both differ, and it is said that they name each other's MLflow run."""
    SWAPS[name](kept)
    found = kept.verify(A, B)
    for case, other in ((A, B), (B, A)):
        assert found[case].state is State.DIFFERS
        assert ("row", "mlflow_run_id", None) in places(found[case])
        assert ("history", "loss", 0) in places(found[case])
        row = find(found[case], "row", "mlflow_run_id")
        ids = {kept.run_ids[case], kept.run_ids[other]}
        assert ids == {row.found, row.expected.partition(",")[0]}


def change(path: str, value: Any, case: str = A) -> Callable[[World], None]:
    """A damage of the published history: sets the value at `path`."""

    def plant(world: World) -> None:
        with world.history(case) as history:
            *parents, last = path.split("/")
            place: Any = history
            for name in parents:
                place = place[int(name) if isinstance(place, list) else name]
            place[int(last) if isinstance(place, list) else last] = value

    return plant


def drop_epoch(world: World) -> None:
    with world.history(A) as history:
        for series in (history["epochs"], *history["loss"].values(), *history["gradient"].values()):
            del series[4:5]


def drop_value(world: World) -> None:
    with world.history(A) as history:
        del history["loss"]["val"][2]


def make_largest(world: World) -> None:
    """An infinity as MLflow stores it, and nothing that says so."""
    with world.history("inf") as history:
        history["loss"]["train"][-1] = DBL_MAX
        del history["non_finite"]["loss"]["train"]["49"]


def set_digest(column: str, value: str | None) -> Callable[[World], None]:
    def plant(world: World) -> None:
        world.sql(
            f"UPDATE switchyard_published SET {column} = :value WHERE quick_test_id = :id", value=value, id=world.ids[A]
        )

    return plant


def drop_series_digest(world: World) -> None:
    ((text,),) = world.sql("SELECT series_digests FROM switchyard_published WHERE quick_test_id = :id", id=world.ids[A])
    series = msgspec.json.decode(text)
    del series["gradient.query"]
    set_digest("series_digests", msgspec.json.encode(series).decode())(world)


def drop_digests(world: World) -> None:
    for table in ("switchyard_histograms", "switchyard_published"):
        world.sql(f"DELETE FROM {table} WHERE quick_test_id = :id", id=world.ids[A])


def change_histogram(edit: Callable[[dict[str, Any]], None]) -> Callable[[World], None]:
    def plant(world: World) -> None:
        where = "WHERE quick_test_id = :id AND kind = 'weights' AND tower = 'query'"
        ((data,),) = world.sql(f"SELECT gzip_json FROM switchyard_histograms {where}", id=world.ids[A])
        row = msgspec.json.decode(gzip.decompress(bytes(data)))
        edit(row)
        damaged = gzip.compress(msgspec.json.encode(row)) if row else b"no gzip"
        world.sql(f"UPDATE switchyard_histograms SET gzip_json = :data {where}", data=damaged, id=world.ids[A])

    return plant


def drop_histogram(world: World) -> None:
    world.sql("DELETE FROM switchyard_histograms WHERE quick_test_id = :id AND kind = 'gradients'", id=world.ids[A])


def add_to_count(row: dict[str, Any]) -> None:
    row["counts"][31][12] += 1


def drop_row(row: dict[str, Any]) -> None:
    row["counts"][31] = None


IN_WHAT_IS_PUBLISHED: dict[str, tuple[str, Callable[[World], None], list[Found]]] = {
    "a flipped value": (A, change("loss/val/2", 0.125), [("history", "val_loss", 10)]),
    "a norm": (A, change("gradient/candidate/3", 0.125), [("history", "candidate_weight_norm", 15)]),
    "a value made null": (A, change("loss/total/5", None), [("history", "total_loss", 25)]),
    "an epoch dropped": (A, drop_epoch, [("history", "epochs", 20), ("history", "loss", 20)]),
    "one value dropped": (A, drop_value, [("history", "val_loss", 10)]),
    "infinity made 1.797e308": ("inf", make_largest, [("history", "loss", 49)]),
    "infinity made 1.797e308 beside its kind": (
        "inf", change("loss/train/10", DBL_MAX, "inf"), [("history", "loss", 49)],
    ),
    "another kind": ("inf", change("non_finite/loss/train/49", "nan", "inf"), [("history", "loss", 49)]),
    "a kind of nothing": (
        A, change("non_finite/loss", {"train": {"7": "inf"}}), [("history", "non_finite.loss.train.7", None)],
    ),
    "a final metric": (A, change("final_metrics/test_recall_at_10", 1), [("history", "test_recall_at_10", None)]),
    "a changed parameter": (A, change("params/optimizer", "sgd"), [("history", "optimizer", None)]),
    "a parameter that MLflow has not": (A, change("params/extra", "1"), [("history", "extra", None)]),
    "true for one": (A, change("schema_version", True), [("history", "schema_version", None)]),
    "a status": (A, change("status", "partial"), [("history", "status", None)]),
    "the time of the first publish": (A, change("cached_at", "2020-01-01T00:00:00Z"), [("history", "cached_at", None)]),
    "the sampling": (A, change("sampling/interval", 7), [("history", "loss", 5)]),
    "a sampling that is none": (A, change("sampling", {"interval": "x"}), [("history", "sampling", None)]),
    "a series that is none": (A, change("loss/val", {"0": 1}), [("history", "val_loss", 0)]),
    "epochs that are none": (A, change("epochs", "all"), [("history", "epochs", 0)]),
    "the history's digest": (A, change("digest/charted", "sha256:0"), [("history", "digest.charted", None)]),
    "a text that is no JSON": (A, lambda world: world.write_history(A, '{"schema_version": 1,' + " " * 400), []),
    "a series' digest": (A, drop_series_digest, [("digests", "query_weight_norm", None)]),
    "the charted digest": (A, set_digest("charted_digest", "sha256:0"), [("digests", "charted", None)]),
    "the full digest": (A, set_digest("full_digest", "sha256:0"), [("digests", "full", None)]),
    "the series' digests no JSON": (A, set_digest("series_digests", "{"), [("digests", "loss", None)]),
    "no digests": (A, drop_digests, [("digests", "", None)]),
    "a count of a histogram": (A, change_histogram(add_to_count), [("histograms", "query_hist_bin_12", 31)]),
    "a row of a histogram": (A, change_histogram(drop_row), [("histograms", "query_hist_bin_0", 31)]),
    "a histogram that is no gzip": (
        A, change_histogram(lambda row: row.clear()), [("histograms", "weights of the query tower", None)],
    ),
    "a histogram dropped": (A, drop_histogram, [("histograms", "candidate_grad_hist_bin_0", 0)]),
    "the row's MLflow run": (
        A, lambda world: void(world.sql("UPDATE quick_tests SET mlflow_run_id = '' WHERE id = :id", id=world.ids[A])),
        [("row", "mlflow_run_id", None)],
    ),
}  # fmt: skip


def void(_: object) -> None:
    """What a statement answered is not needed."""


@pytest.mark.parametrize("name", IN_WHAT_IS_PUBLISHED)
def test_what_was_changed_in_the_results_is_named(kept: World, name: str) -> None:
    """Run and key, and the epoch where the value itself was changed; nothing else of the run, and no other run."""
    case, plant, expected = IN_WHAT_IS_PUBLISHED[name]
    plant(kept)
    found = kept.verify(case, B)
    assert (found[case].state, found[B].state) == (State.DIFFERS, State.VERIFIED)
    assert set(expected) <= places(found[case])
    # Series and values go with the digest of their history.
    below = {"histograms"} | ({"series", "values"} if name in ("the history's digest", "no digests") else set())
    found_places = {found.place for found in found[case].differences}
    assert not expected or found_places <= {expected[0][0], *below}


def test_an_infinity_made_the_largest_number_is_said_so(world: World) -> None:
    """The message has both."""
    make_largest(world)
    found = find(world.verify("inf")["inf"], "history", "loss")
    assert (found.expected, found.found, found.epoch) == ("inf", "1.7976931348623157e+308", 49)
    assert "loss.train (MLflow's loss) at epoch 49 in the history: expected inf" in str(found)
