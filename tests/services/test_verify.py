"""Verify finds every planted corruption of MLflow and of the kept files, and names run, key and epoch."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.verify.findings import State
from switchyard.services import verify as verifying
from tests.clients.mlflow.export.exports import export_to_folder
from tests.clients.mlflow.stores import DBL_MAX, make_sqlite
from tests.services.verify_world import NORMAL, Found, World, places

A, B = NORMAL


def metric(world: World, change: str, key: str, step: int, case: str = A) -> None:
    world.mlflow(f"UPDATE metrics SET {change} WHERE run_uuid = ? AND key = ? AND step = ?",
                 world.run_ids[case], key, step)  # fmt: skip


def drop_point(world: World, key: str, step: int) -> None:
    world.mlflow("DELETE FROM metrics WHERE run_uuid = ? AND key = ? AND step = ?", world.run_ids[A], key, step)


def add_epoch(world: World) -> None:
    world.mlflow(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('loss', 0.1, 99, ?, 50, 0)",
        world.run_ids[A],
    )


def set_param(world: World, name: str, text: str) -> None:
    world.mlflow("UPDATE params SET value = ? WHERE run_uuid = ? AND key = ?", text, world.run_ids[A], name)


def drop_bin(world: World) -> None:
    world.mlflow("DELETE FROM metrics WHERE run_uuid = ? AND key = 'query_hist_bin_7'", world.run_ids[A])


ONE_BIT = "value = value * 1.0000000000000002"
IN_THE_SOURCE: dict[str, tuple[str, Callable[[World], object], list[Found]]] = {
    "a value between two sampled epochs, by one bit": (
        A,
        lambda world: metric(world, ONE_BIT, "val_loss", 7),
        [("digests", "val_loss", None), ("file", "val_loss", 7)],
    ),
    "a value at a sampled epoch": (
        A,
        lambda world: metric(world, "value = 0.125", "loss", 10),
        [("digests", "loss", None), ("history", "loss", 10), ("file", "loss", 10)],
    ),
    "a point dropped": (
        A,
        lambda world: drop_point(world, "query_weight_norm", 23),
        [("digests", "query_weight_norm", None), ("file", "query_weight_norm", 23)],
    ),
    "an epoch logged later": (
        A,
        add_epoch,
        [("digests", "epochs", None), ("history", "epochs", 49), ("file", "epochs", 50), ("file", "loss", 50)],
    ),
    "a statistic that is not charted": (
        A,
        lambda world: metric(world, "value = 3.0", "query_weights_mean", 3),
        [("digests", "query_weights_mean", None), ("file", "query_weights_mean", 3)],
    ),
    "a count of a histogram": (
        A,
        lambda world: metric(world, "value = value + 1", "query_hist_bin_7", 4),
        [("histograms", "query_hist_bin_7", 4), ("file", "query_hist_bin_7", 4)],
    ),
    "a bin dropped": (A, drop_bin, [("histograms", "query_hist_bin_7", 0), ("file", "query_hist_bin_7", 0)]),
    "a final metric": (
        A,
        lambda world: world.mlflow(
            "UPDATE metrics SET value = 0.5 WHERE run_uuid = ? AND key = 'test_recall_at_10'", world.run_ids[A]
        ),
        [(place, "test_recall_at_10", None) for place in ("digests", "history", "file")],
    ),
    "a changed parameter": (
        A,
        lambda world: set_param(world, "optimizer", "sgd"),
        [("digests", "optimizer", None), ("history", "optimizer", None), ("file", "optimizer", None)],
    ),
    "the edges of a histogram": (
        A,
        lambda world: set_param(world, "query_hist_bin_edges", ",".join(map(str, range(26)))),
        [("histograms", "query_hist_bin_edges", None), ("file", "query_hist_bin_edges", None)],
    ),
    "an infinity made a number": (
        "inf",
        lambda world: metric(world, "value = 1e308", "loss", 3, "inf"),
        [("digests", "loss", None), ("file", "loss", 3)],
    ),
    "a NaN made a number": (
        "nan",
        lambda world: world.mlflow("UPDATE metrics SET is_nan = 0 WHERE run_uuid = ?", world.run_ids["nan"]),
        [("file", "query_grad_mean", 0)],
    ),
    "one of 30,000 points": (
        "long_key",
        lambda world: metric(world, ONE_BIT, "batch_loss", 12_345, "long_key"),
        [("digests", "batch_loss", None), ("file", "batch_loss", 12_345)],
    ),
    "a run's end": (
        A,
        lambda world: world.mlflow("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", world.run_ids[A]),
        [("history", "status", None), ("file", "status", None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THE_SOURCE)
def test_what_was_changed_in_mlflow_is_named(world: World, name: str) -> None:
    """Run and key, and the epoch wherever the value itself is kept; the other runs are verified."""
    case, plant, expected = IN_THE_SOURCE[name]
    plant(world)
    found = world.verify(case, B)
    assert found[case].state is State.DIFFERS
    assert set(expected) <= places(found[case])
    assert found[B].state is State.VERIFIED
    assert not found[case].kept_in_full
    said = str(found[case])
    assert f"quick test {world.ids[case]} (MLflow run {world.run_ids[case]}) differs" in said


def swap_in_mlflow(world: World) -> None:
    one, other = world.run_ids[A], world.run_ids[B]
    for old, new in ((one, "x"), (other, one), ("x", other)):
        world.mlflow("UPDATE metrics SET run_uuid = ? WHERE run_uuid = ?", new, old)


def test_two_runs_swapped_in_mlflow_are_both_named(world: World) -> None:
    """Their points: every series differs in every place."""
    swap_in_mlflow(world)
    found = world.verify(A, B)
    for case in (A, B):
        assert {("digests", "loss", None), ("history", "loss", 0), ("file", "loss", 0)} <= places(found[case])


def in_file(path: str, value: Any, case: str = A) -> Callable[[World], None]:
    """A damage of the kept training_metrics.json: sets the value at `path`."""

    def plant(world: World) -> None:
        with world.file(case) as file:
            *parents, last = path.split("/")
            place: Any = file
            for name in parents:
                place = place[int(name) if isinstance(place, list) else name]
            place[int(last) if isinstance(place, list) else last] = value

    return plant


def drop_point_of_file(world: World) -> None:
    with world.file(A) as file:
        series = file["loss"]["val_loss"]
        file["loss"]["val_loss"] = [*series[:7], *series[8:], None]


def make_largest_in_file(world: World) -> None:
    with world.file("inf") as file:
        file["loss"]["loss"][3] = DBL_MAX
        del file["non_finite"]["loss"]["loss"]["3"]


def swap_files(world: World) -> None:
    one, other = world.file_path(A).read_bytes(), world.file_path(B).read_bytes()
    world.write_file(A, other)
    world.write_file(B, one)


IN_THE_FILE: dict[str, tuple[str, Callable[[World], None], list[Found]]] = {
    "a flipped value": (A, in_file("loss/val_loss/7", 0.125), [("file", "val_loss", 7)]),
    "a statistic": (A, in_file("gradient_stats/candidate/max/33", 9), [("file", "candidate_grad_max", 33)]),
    "a point dropped": (A, drop_point_of_file, [("file", "val_loss", 7)]),
    "infinity made 1.797e308": ("inf", make_largest_in_file, [("file", "loss", 3)]),
    "a count": (
        A, in_file("weight_stats/query/histogram/counts/8/24", 77), [("file", "query_hist_bin_24", 8)],
    ),
    "an edge": (
        A, in_file("weight_stats/query/histogram/bin_edges/0", -99), [("file", "query_hist_bin_edges", None)],
    ),
    "a changed parameter": (A, in_file("params/optimizer", "sgd"), [("file", "optimizer", None)]),
    "a parameter that is a number": (A, in_file("params/epochs", 50), [("file", "epochs", None)]),
    "one of 30,000 points": (
        "long_key", in_file("other_series/batch_loss/values/29999", 1, "long_key"), [("file", "batch_loss", 29_999)],
    ),
    "a status": (A, in_file("status", "partial"), [("file", "status", None)]),
    "an unknown key": (A, in_file("note", "hello"), [("file", "note", None)]),
    "a cut file": (A, lambda world: world.write_file(A, world.file_path(A).read_bytes()[:1000]), [("file", "", None)]),
    "no file": (A, lambda world: world.file_path(A).unlink(), [("file", "", None)]),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THE_FILE)
def test_what_was_changed_in_the_kept_file_is_named(world: World, name: str) -> None:
    """Key and epoch; what is published is right, and nothing else is said."""
    case, plant, expected = IN_THE_FILE[name]
    plant(world)
    found = world.verify(case, B)
    assert (found[case].state, found[B].state) == (State.DIFFERS, State.VERIFIED)
    assert places(found[case]) == set(expected)
    assert not found[case].kept_in_full


def test_two_files_swapped_are_both_named(world: World) -> None:
    """By whose they say that they are, and by their values."""
    swap_files(world)
    for run in world.verify(A, B).values():
        assert {("file", "run.quick_test_id", None), ("file", "loss", 0)} <= places(run)


def test_a_clean_store_is_verified(published: World, charted: World) -> None:
    """Every run of the legacy database, whole and charted alone; the one without a point is said to be empty."""
    for world in (published, charted):
        found = world.verify(whole=world is published)
        assert len(found) == 24
        states = {case: run.state for case, run in found.items()}
        assert states.pop("killed_empty") is State.EMPTY
        assert set(states.values()) == {State.VERIFIED}
        assert all(run.kept_in_full is (world is published) for case, run in found.items() if case != "killed_empty")


def test_charted_runs_name_the_key_of_a_value_that_is_not_kept(charted: World, tmp_path: Path) -> None:
    """Between two sampled epochs the history has no value.

    The digest names the series, and the full series the epoch."""
    with closing(charted.copy(tmp_path)) as world:
        metric(world, ONE_BIT, "val_loss", 7)
        metric(world, "value = 0.5", "query_weight_norm", 20)
        found = world.verify(A, whole=False)[A]
        assert places(found) == {
            ("digests", "val_loss", None),
            ("digests", "query_weight_norm", None),
            ("series", "val_loss", 7),
            ("series", "query_weight_norm", 20),
            ("history", "query_weight_norm", 20),
            ("history", "digest.charted", None),
        }


def test_a_file_that_is_gone_is_named(world: World) -> None:
    """The sentence can be read."""
    world.file_path(A).unlink()
    assert "differs: the file: expected a metrics file, found" in str(world.verify(A)[A])


def test_runs_are_told_apart_by_what_became_of_them(world: World) -> None:
    """Legacy, unpublished, gone from MLflow, unreadable: each is called so, with its reason, and hides no other."""
    legacy = '{"available": true, "epochs": [0], "loss": {"train": [NaN]}, "params": {"note": "' + "x" * 400 + '"}}'
    world.write_history(A, legacy)
    world.sql("UPDATE quick_tests SET training_history_json = NULL WHERE id = :id", id=world.ids[B])
    world.mlflow("DELETE FROM runs WHERE run_uuid = ?", world.run_ids["failed"])
    world.mlflow("UPDATE runs SET status = 'PAUSED' WHERE run_uuid = ?", world.run_ids["running"])
    metric(world, ONE_BIT, "loss", 7, "dup_step")
    found = world.verify()
    expected = {
        A: (State.LEGACY, "legacy application stored its history over what Switchyard had published"),
        B: (State.UNPUBLISHED, "nothing is published"),
        "failed": (State.MISSING, f"has no run {world.run_ids['failed']}"),
        "running": (State.UNREAD, "`status` must be one of"),
        "dup_step": (State.DIFFERS, "loss.loss (MLflow's loss) at epoch 7 in the file"),
        "killed_empty": (State.EMPTY, "not one point"),
    }
    for case, (state, said) in expected.items():
        assert found[case].state is state, case
        assert said in str(found[case]), case
    others = found.keys() - expected.keys()
    assert {found[case].state for case in others} == {State.VERIFIED}
    lines = {line.quick_test_id: line for line in world.outside.ledger.read_ledger("verify")}
    assert {case: lines[world.ids[case]].state for case in found} == {case: run.state for case, run in found.items()}


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_with_any_metric_can_be_published(world: World, *, whole: bool) -> None:
    """Which metric it is, is no matter, nor with which keys the run was read."""
    run_id = world.run_ids["killed_empty"]
    world.mlflow("INSERT INTO metrics VALUES ('note', 1.5, 1, ?, 3, 0)", run_id)
    found = world.verify("killed_empty", whole=whole)["killed_empty"]
    assert (found.state, found.keys, found.points) == (State.UNPUBLISHED, 1, 1)


def test_an_export_proves_the_same_as_the_store(published: World, tmp_path: Path) -> None:
    """Every line is the same, source digests too, so that it can be verified after MLflow is gone."""
    export_uri = export_to_folder(f"sqlite:///{published.store}", tmp_path)
    by_sql, by_export = published.verify(), published.verify(export_uri=export_uri)
    assert by_export == by_sql


def test_the_source_is_not_touched(published: World) -> None:
    """Not one byte of the store is written."""
    before = published.store.read_bytes()
    published.verify()
    assert published.store.read_bytes() == before


def test_our_own_tables_in_mlflows_database_are_not_mlflows(tmp_path: Path) -> None:
    """They do not keep it from being deleted; a table that only has a name like ours does."""
    path = tmp_path / "mlflow.db"
    make_sqlite(path)
    uri = f"sqlite:///{path}"
    environ = {"STATE_DIR": str(tmp_path), "RESULTS_URL": uri, "MLFLOW_BACKEND_STORE_URI": uri}
    outside = Outside(read_settings(environ))
    migrate(outside.settings)

    def list_others() -> dict[str, int]:
        kinds, _ = verifying.count_kinds(outside)
        return {table: count for kind in kinds if kind.kind == "other" for table, count in kind.missing.items()}

    assert list_others() == {}
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE switchyard_notes (note TEXT)")
        connection.execute("INSERT INTO switchyard_notes VALUES ('mine')")
    assert list_others() == {"switchyard_notes": 1}
    outside.close()
