"""Verify finds every planted corruption of the legacy database's published copy, and names run, key and epoch."""

import gzip
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from history.manifest import Difference, State, VerifiedRun
from tests.clients.mlflow_exports import export_to_folder
from tests.clients.mlflow_stores import DBL_MAX, find_fixture, make_sqlite
from tests.clients.verify_world import NORMAL, World
from tests.postgres import Postgres

A, B = NORMAL
Found = tuple[str, str, int | None]
"""Where a difference must be found: place, MLflow's key, epoch."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The legacy database, as MLflow has it."""
    return make_sqlite(tmp_path_factory.mktemp("mlflow") / "mlflow.db", find_fixture())


def publish(store: Path, folder: Path, results_url: str = "", **how: bool) -> World:
    shutil.copy(store, folder / "mlflow.db")
    world = World(folder, folder / "mlflow.db", results_url or f"sqlite:///{folder / 'results.db'}")
    world.publish(**how)
    world.close()
    return world


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Published with histograms and files."""
    return publish(store, tmp_path_factory.mktemp("whole"), full=True)


@pytest.fixture(scope="module")
def charted(store: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Published of the charted keys alone."""
    return publish(store, tmp_path_factory.mktemp("charted"))


@pytest.fixture
def world(whole: World, tmp_path: Path) -> Iterator[World]:
    """A copy of `whole`, for damage."""
    copied = whole.copy(tmp_path)
    yield copied
    copied.close()


@pytest.fixture(scope="module")
def on_postgres(store: Path, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Published with histograms and files, into results on Postgres."""
    url = postgres.url(postgres.make_database())
    return publish(store, tmp_path_factory.mktemp("postgres"), url, full=True)


@pytest.fixture(params=["whole", "on_postgres"])
def kept(request: pytest.FixtureRequest) -> Iterator[World]:
    """Results on each database, for damage; as they were at the test's end."""
    world: World = request.getfixturevalue(request.param)
    with world.put_back():
        yield world
    world.close()


def places(run: VerifiedRun) -> set[Found]:
    return {(found.place, found.key or found.path, found.epoch) for found in run.differences}


def find(run: VerifiedRun, place: str, key: str) -> Difference:
    return next(found for found in run.differences if (found.place, found.key or found.path) == (place, key))


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
                "status, rank_attempt, rank_restart, rank_epochs, rank_status, cached_at, published_at "
                "FROM switchyard_published WHERE quick_test_id = :old",
                old=old,
            )
        world.sql("UPDATE switchyard_histograms SET quick_test_id = :new WHERE quick_test_id = :old", new=new, old=old)


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


def test_two_runs_swapped_in_mlflow_are_both_named(world: World) -> None:
    """Their points: every series differs in every place."""
    swap_in_mlflow(world)
    found = world.verify(A, B)
    for case in (A, B):
        assert {("digests", "loss", None), ("history", "loss", 0), ("file", "loss", 0)} <= places(found[case])


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
    assert {found.place for found in found[case].differences} <= {expected[0][0], "histograms"} if expected else True


def test_an_infinity_made_the_largest_number_is_said_so(world: World) -> None:
    """The message has both."""
    make_largest(world)
    found = find(world.verify("inf")["inf"], "history", "loss")
    assert (found.expected, found.found, found.epoch) == ("inf", "1.7976931348623157e+308", 49)
    assert "loss.train (MLflow's loss) at epoch 49 in the history: expected inf" in str(found)


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


def test_a_clean_store_is_verified(whole: World, charted: World) -> None:
    """Every run of the legacy database, whole and charted alone; the one without a point is said to be empty."""
    for world in (whole, charted):
        found = world.verify(whole=world is whole)
        assert len(found) == 24
        states = {case: run.state for case, run in found.items()}
        assert states.pop("killed_empty") is State.EMPTY
        assert set(states.values()) == {State.VERIFIED}
        assert all(run.kept_in_full is (world is whole) for case, run in found.items() if case != "killed_empty")


def test_charted_runs_name_the_key_of_a_value_that_is_not_kept(charted: World, tmp_path: Path) -> None:
    """Between two sampled epochs nobody kept the value: its series is named, and no epoch."""
    with closing(charted.copy(tmp_path)) as world:
        metric(world, ONE_BIT, "val_loss", 7)
        metric(world, "value = 0.5", "query_weight_norm", 20)
        found = world.verify(A, whole=False)[A]
        assert places(found) == {
            ("digests", "val_loss", None),
            ("digests", "query_weight_norm", None),
            ("history", "query_weight_norm", 20),
            ("history", "digest.charted", None),
        }


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
    lines = {line.quick_test_id: line for line in world.outside.results.read_ledger("verify")}
    assert {case: lines[world.ids[case]].state for case in found} == {case: run.state for case, run in found.items()}


def test_an_export_proves_the_same_as_the_store(whole: World, tmp_path: Path) -> None:
    """Every line is the same, source digests too, so that it can be verified after MLflow is gone."""
    export_uri = export_to_folder(f"sqlite:///{whole.store}", tmp_path)
    by_sql, by_export = whole.verify(), whole.verify(export_uri=export_uri)
    assert by_export == by_sql


def test_the_source_is_not_touched(whole: World) -> None:
    """Not one byte of the store is written."""
    before = whole.store.read_bytes()
    whole.verify()
    assert whole.store.read_bytes() == before
