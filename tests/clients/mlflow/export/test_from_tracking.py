"""Exports of what an MLflow server answers: the same as those of its database, but for what no server tells."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.mlflow.export import from_tracking
from switchyard.clients.mlflow.export.from_tracking import Answers, export_answers
from switchyard.clients.mlflow.export.parts import read_rows
from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.export.restore import restore_store
from switchyard.clients.mlflow.export.writer import export_store, read_export
from switchyard.clients.mlflow.registry_sources import ExportSource
from switchyard.clients.mlflow.rest_store import RestStore
from switchyard.clients.objects.files import FileObjects
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, StaleWrite, TryAgain
from switchyard.core.mlflow import export_batches
from switchyard.core.mlflow.export import MARKER, Export, Moved
from switchyard.core.mlflow.raw_run import UNREADABLE, LostRun, OwnedPoint, RawRun, to_source_digest
from switchyard.core.ports import ANY
from switchyard.core.registry.importing import LostModel
from tests.clients.mlflow.export.answering import RUNS, make_store, serve_store
from tests.clients.mlflow.stores import add_point
from tests.core.mlflow.factories import START_MS, make_info, make_points, make_run, make_small
from tests.emulators.faults import Fault
from tests.emulators.mlflow_rest import MlflowEmulator

OBJECTS = FileObjects()
IDS = [run.info.run_id for run in RUNS]


class Server:
    """A server, its store, and where it is exported to."""

    def __init__(self, emulator: MlflowEmulator, store: RestStore, path: Path, uri: str) -> None:
        self.emulator, self.store, self.path, self.uri = emulator, store, path, uri

    def export(self, **options: Any) -> Export:
        return export_answers(
            Answers(self.store, self.store, self.store), self.uri, options.pop("objects", OBJECTS), **options
        )

    def change(self, statement: str, *values: Any) -> None:
        with sqlite3.connect(self.path) as connection:
            assert connection.execute(statement, values).rowcount != 0
        connection.close()


@pytest.fixture(params=[False, True], ids=["2.9.2", "3"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    path = make_store(tmp_path / "mlflow.db")
    with serve_store(path, is_3=request.param) as (emulator, store):
        yield Server(emulator, store, path, (tmp_path / "export").as_uri())


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Server]:
    """As `server`, of 2.9.2 alone, with batches of two runs."""
    path = make_store(tmp_path / "mlflow.db")
    with serve_store(path) as (emulator, store):
        yield Server(emulator, store, path, (tmp_path / "export").as_uri())


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_batches, "RUNS", 2)
    monkeypatch.setattr(from_tracking, "_RUNS_AT_ONCE", 2)


def read_table(export: Export, uri: str, name: str) -> list[dict[str, Any]]:
    table = export.table(name)
    rows = [row for part in table.parts for row in read_rows(OBJECTS.read(f"{uri}/{part.name}")[0], part.name)]
    return [dict(zip(table.columns, row, strict=True)) for row in rows]


def digests(uri: str) -> dict[str, str]:
    tracking = open_export(uri, OBJECTS)
    found = list(tracking.read_runs([run.run_id for run in tracking.list_runs()]))
    assert all(isinstance(run, RawRun) for run in found), found
    return {run.info.run_id: to_source_digest(run) for run in found if isinstance(run, RawRun)}


def to_key(row: dict[str, Any]) -> str:
    return repr(sorted(row.items()))


def test_export_of_a_server_says_what_that_of_its_database_says(server: Server, tmp_path: Path) -> None:
    """Both agree row by row in every table that both have, and run by run: deleted ones, odd values, prompts.

    The difference is what no server tells, and is said."""
    sql_uri = (tmp_path / "sql").as_uri()
    sql = export_store(f"sqlite:///{server.path}", sql_uri, OBJECTS)
    export = server.export()
    assert digests(server.uri) == digests(sql_uri)
    ours: dict[str, Any] = {"is_nan": bool, "value": lambda value: value}
    for table in sql.tables:
        if table.name in ("alembic_version", "datasets", "inputs", "input_tags"):
            continue
        expected = read_table(sql, sql_uri, table.name)
        for row in expected:
            row |= {name: to_ours(row[name]) for name, to_ours in ours.items() if name in row}
        found = read_table(export, server.uri, table.name)
        assert sorted(found, key=to_key) == sorted(expected, key=to_key), table.name
    datasets = read_table(export, server.uri, "datasets")
    columns = ("name", "experiment_id", "dataset_source", "dataset_schema")
    assert sorted(tuple(row[column] for column in columns) for row in datasets) == [
        ("sales", 4, '{"uri": "x"}', '{"s": 1}'),
        ("sales", 7, '{"uri": "y"}', None),
    ]  # fmt: skip
    by_id = {row["dataset_uuid"]: row["experiment_id"] for row in datasets}
    inputs = read_table(export, server.uri, "inputs")
    assert {(by_id[row["source_id"]], row["destination_id"]) for row in inputs} == {
        (4, "a" * 32),
        (4, "e" * 32),
        (7, "d" * 32),
    }
    tags = {row["input_uuid"]: (row["name"], row["value"]) for row in read_table(export, server.uri, "input_tags")}
    assert {(row["destination_id"][0], *tags[row["input_uuid"]]) for row in inputs if row["input_uuid"] in tags} == {
        ("a", "mlflow.data.context", "training"),
        ("d", "k", "v"),
    }
    assert (export.missing, export.noted) == ([], [])
    assert any("data sets that no run uses" in said for said in export.not_kept)
    assert export.artifacts.locations.rows == sql.artifacts.locations.rows


def test_export_of_a_server_says_what_it_is(one: Server) -> None:
    """A manifest has it word for word; there is no schema to restore a database from."""
    export = one.export()
    taken = f"{export.taken_at:%Y-%m-%dT%H:%M:%SZ}"
    said = open_export(one.uri, OBJECTS).describe()
    assert said == f"the export at {one.uri}, taken at {taken} ({one.store.describe()}, {export.rows} rows)"
    with pytest.raises(BadRequest, match=r"no schema.* Nothing was restored. .*switchyard backfill --export-uri file:"):
        restore_store(one.uri, OBJECTS, "sqlite:////none/at/all.db")


def test_models_are_imported_from_an_export_as_from_the_server(server: Server) -> None:
    """With their tags, aliases, stages and places; prompts are not ours."""
    server.export()
    found = ExportSource(server.uri, OBJECTS).read_models()
    assert found == server.store.read_models()
    assert [model.name for model in found] == ["it's", "shop"]


def test_logged_models_and_whose_a_point_is_are_kept(tmp_path: Path) -> None:
    """A server over a database tells it nowhere but with its logged models."""
    path = make_store(tmp_path / "mlflow.db", [make_small({"loss": make_points((0, 3.0), (1, 2.0), (1, 1_500, 9.0))})])
    run_id = make_info().run_id
    metric = {"key": "loss", "step": 1, "timestamp": START_MS + 1_500, "value": 9.0, "run_id": run_id,
              "dataset_name": "holdout", "dataset_digest": "d"}  # fmt: skip
    info = {"model_id": "m-1", "experiment_id": make_info().experiment_id, "name": "ünï", "creation_timestamp_ms": 5,
            "status": "LOGGED_MODEL_READY", "source_run_id": run_id, "tags": [{"key": "t", "value": "1"}]}  # fmt: skip
    with serve_store(path, is_3=True) as (emulator, store):
        server = Server(emulator, store, path, (tmp_path / "export").as_uri())
        emulator.beside.logged_models = [
            {"info": info, "data": {"metrics": [metric], "params": [{"key": "p", "value": "2"}]}}
        ]
        emulator.beside.traces = 1_201
        (read,) = store.read_runs([run_id])
        export = server.export()
    (run,) = open_export(server.uri, OBJECTS).read_runs([run_id])
    assert isinstance(run, RawRun)
    assert list(run.owned) == [OwnedPoint("loss", 1, START_MS + 1_500, 9.0, "m-1", "holdout")]
    assert isinstance(read, RawRun)
    assert list(read.owned) == list(run.owned), "what is published from the server is compared with its export"
    (model,) = read_table(export, server.uri, "logged_models")
    assert (model["model_id"], model["name"], model["status"], model["source_run_id"]) == ("m-1", "ünï", 2, run_id)
    rows = {name: export.table(name).rows for name in ("logged_model_params", "logged_model_tags")}
    assert rows == {"logged_model_params": 1, "logged_model_tags": 1}
    assert "1201 traces, and their spans" in export.not_kept


def test_second_export_of_an_unchanged_server_writes_nothing(one: Server) -> None:
    """It reads all again, and says what the first one said."""
    first = one.export()
    before = {uri: OBJECTS.stat(uri) for uri in OBJECTS.list(f"{one.uri}/")}
    assert one.export() == first
    assert {uri: OBJECTS.stat(uri) for uri in OBJECTS.list(f"{one.uri}/")} == before


def test_changed_server_is_exported_anew(one: Server) -> None:
    """Also where a point was logged late, of which no newest point tells; nothing of the old parts is left."""
    one.export()
    one.change("UPDATE metrics SET value = 0.125 WHERE run_uuid = ? AND key = 'batch_loss' AND step = 3", "e" * 32)
    export = one.export()
    (run,) = open_export(one.uri, OBJECTS).read_runs(["e" * 32])
    assert isinstance(run, RawRun)
    assert run.metrics["batch_loss"].values[3] == 0.125
    named = {f"{one.uri}/{name}" for name in (MARKER, *(part.name for part in export.parts))}
    assert set(OBJECTS.list(f"{one.uri}/")) == named


class Killed(BaseException):
    """Stands for kill -9 at one write."""


class Stopping(FileObjects):
    """Files whose writer is killed before one write."""

    def __init__(self, stop_before: int) -> None:
        self._left = stop_before

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        if self._left == 0:
            raise Killed
        self._left -= 1
        return super().write(uri, data, if_generation=if_generation)


@pytest.mark.parametrize("stop_before", range(1, 34, 8))
def test_killed_export_goes_on_where_it_was(one: Server, stop_before: int, tmp_path: Path) -> None:
    """No reader takes half an export.

    The next call reads no run of a finished batch again, and ends with the very files of one that was never killed."""
    with pytest.raises(Killed):
        one.export(objects=Stopping(stop_before))
    with pytest.raises(BadSetup, match="no finished export"):
        open_export(one.uri, OBJECTS)
    done = len(OBJECTS.list(f"{one.uri}/batches/"))
    one.emulator.faults.forget()
    one.export()
    read = {run_id for run_id in IDS if one.emulator.faults.count("runs/get", run_id)}
    assert read == set(IDS[2 * done :])
    resumed, one.uri = one.uri, (tmp_path / "whole").as_uri()
    one.export()
    files = [{uri.removeprefix(root) for uri in OBJECTS.list(f"{root}/")} for root in (resumed, one.uri)]
    assert files[0] == files[1]


def test_finished_batches_are_not_read_again(one: Server) -> None:
    """After a kill before the last batch's record, only that batch's runs are asked for."""
    one.emulator.faults.order(Fault(kind="experiments/search", nth=2, times=10_000, status=503))
    with pytest.raises(TryAgain):
        one.export()
    assert len(OBJECTS.list(f"{one.uri}/batches/")) == 3
    one.emulator.faults.forget()
    export = one.export()
    assert one.emulator.faults.count("metrics/*") == one.emulator.faults.count("runs/get") == 0
    assert export.table("runs").rows == len(RUNS)
    assert OBJECTS.list(f"{one.uri}/batches/") == []


def test_run_that_changed_since_its_batch_is_read_again(one: Server) -> None:
    """With the others of its batch; a run that is deleted for good is no more there."""
    one.emulator.faults.order(Fault(kind="experiments/search", nth=2, times=10_000, status=503))
    with pytest.raises(TryAgain):
        one.export()
    one.emulator.faults.forget()
    one.change("UPDATE params SET value = 'newer' WHERE run_uuid = ?", "a" * 32)
    one.change("DELETE FROM latest_metrics WHERE run_uuid = ?", "e" * 32)
    one.change("DELETE FROM metrics WHERE run_uuid = ?", "e" * 32)
    one.change("DELETE FROM runs WHERE run_uuid = ?", "e" * 32)
    one.export()
    runs = {run.info.run_id: run for run in open_export(one.uri, OBJECTS).read_runs(IDS) if isinstance(run, RawRun)}
    assert sorted(runs) == IDS[:-1]
    assert set(runs["a" * 32].params.values()) == {"newer"}
    assert one.emulator.faults.count("runs/get", "c" * 32) == 0


def test_run_that_the_server_fails_at_is_missing_until_it_is_read(one: Server) -> None:
    """The others are exported; the export names it, so it does not look read, and the same call brings it."""
    one.emulator.faults.order(Fault(kind="runs/get", target="b*", times=10_000, status=500))
    export = one.export()
    assert [(missing.kind, missing.id) for missing in export.missing] == [("run", "b" * 32)]
    assert "answered 500" in export.missing[0].reason
    tracking = open_export(one.uri, OBJECTS)
    listed = {run.run_id: (run.status, run.lifecycle) for run in tracking.list_runs()}
    assert listed.keys() == set(IDS)
    status, lifecycle = listed["b" * 32]
    assert (status.startswith(UNREADABLE), "answered 500" in status, lifecycle) == (True, True, "active")
    assert len(list(tracking.list_runs(experiments=["two-tower"]))) == 4
    lost = [run for run in tracking.read_runs(IDS) if isinstance(run, LostRun)]
    assert [run.run_id for run in lost] == ["b" * 32]
    assert isinstance(lost[0].error, BadRecord)
    assert "1 of its runs and models could not be read" in tracking.describe()
    assert {mark.run_id for mark in tracking.read_marks()} == set(IDS) - {"b" * 32}
    one.emulator.faults.forget()
    export = one.export()
    assert export.missing == []
    assert {run.run_id: run.status for run in open_export(one.uri, OBJECTS).list_runs()}["b" * 32] == "RUNNING"
    assert {target for target in IDS if one.emulator.faults.count("runs/get", target)} == {"b" * 32}


def test_deleted_run_that_cannot_be_read_is_missing_too(one: Server) -> None:
    """It looks as if it were not deleted: the question whether MLflow may go must not pass it over."""
    one.emulator.faults.order(Fault(kind="runs/get", target="c*", times=10_000, status=500))
    assert [missing.id for missing in one.export().missing] == ["c" * 32]
    listed = {run.run_id: run.lifecycle for run in open_export(one.uri, OBJECTS).list_runs()}
    assert listed["c" * 32] == "active"


def test_run_without_a_status_is_missing_by_its_experiment(one: Server) -> None:
    """The server cannot name it."""
    with sqlite3.connect(one.path) as connection:
        connection.execute("UPDATE runs SET status = NULL WHERE run_uuid = ?", ("a" * 32,))
    connection.close()
    export = one.export()
    assert [missing.id for missing in export.missing] == ["without a status, in experiment 4"]
    assert "Set one there" in export.missing[0].reason


def test_model_that_the_server_fails_at_is_missing(one: Server) -> None:
    """The others, and the runs, are exported; importing and counting models says so."""
    one.emulator.faults.order(Fault(kind="registered-models/get", target="shop", times=10_000, status=500))
    export = one.export()
    assert [(missing.kind, missing.id) for missing in export.missing] == [("model", "shop")]
    found = {model.name: model for model in ExportSource(one.uri, OBJECTS).read_models()}
    assert list(found) == ["it's", "shop"]
    lost = found["shop"]
    assert isinstance(lost, LostModel)
    assert "answered 500" in str(lost.error)
    one.emulator.faults.forget()
    assert one.export().missing == []


def test_run_that_is_deleted_for_good_meanwhile_is_not_missing(one: Server) -> None:
    """It is in MLflow no more, and the experiment that went with it is named all the same."""

    def delete(kind: str, question: Any) -> None:
        if kind == "runs/get" and question["run_id"] == "d" * 32:
            with sqlite3.connect(one.path) as connection:
                connection.execute("DELETE FROM runs WHERE run_uuid = ?", ("d" * 32,))
            connection.close()

    one.emulator.replace = delete
    export = one.export()
    assert export.missing == []
    assert sorted(run.run_id for run in open_export(one.uri, OBJECTS).list_runs()) == [
        id_ for id_ in IDS if id_[0] != "d"
    ]


def test_run_that_changes_while_it_is_read_is_read_again_whole(one: Server) -> None:
    """A point is logged between its metrics and the look that follows.

    The second reading has it, and all is of one moment."""
    asked = 0

    def log(kind: str, question: Any) -> None:
        nonlocal asked
        if kind == "runs/get" and question["run_id"] == "b" * 32:
            asked += 1
            if asked == 2:  # after the reader has the points
                add_late_point(one.path, 7)

    one.emulator.replace = log
    export = one.export()
    assert (asked, export.noted) == (4, [])
    (run,) = open_export(one.uri, OBJECTS).read_runs(["b" * 32])
    assert isinstance(run, RawRun)
    assert run.metrics["loss"].steps[-1] == 7


def test_run_that_never_stands_still_is_noted_and_read_again_next_time(one: Server) -> None:
    """It is exported as it was last read, and the export is whole."""
    step = 10

    def log(kind: str, question: Any) -> None:
        nonlocal step
        if kind == "runs/get" and question["run_id"] == "b" * 32:
            step += 1
            add_late_point(one.path, step)

    one.emulator.replace = log
    export = one.export()
    assert export.missing == []
    assert [said.split(":")[0] for said in export.noted] == [f"run {'b' * 32} changed while it was read, 3 times"]


def add_late_point(path: Path, step: int) -> None:
    with sqlite3.connect(path) as connection:
        add_point(connection, "b" * 32, "loss", step, START_MS - 1_000_000, 0.5)  # by a clock that went back
        connection.execute(
            "UPDATE latest_metrics SET step = ?, timestamp = ?, value = 0.5, is_nan = 0 "
            "WHERE run_uuid = ? AND key = 'loss'",
            (step, START_MS - 1_000_000, "b" * 32),
        )
    connection.close()


@pytest.mark.parametrize("kind", ["runs/search", "metrics/get-history-bulk", "registered-models/search"])
def test_server_that_dies_in_the_middle_of_an_answer_is_tried_again(one: Server, kind: str) -> None:
    """An answer that breaks off costs one more call.

    A server that stays away ends the export, and the same call goes on."""
    one.emulator.faults.order(Fault(kind=kind, times=2, broken=True))
    whole = one.export()
    assert whole.missing == []
    one.uri += "-2"
    one.emulator.faults.order(Fault(kind=kind, times=10_000, broken=True))
    one.emulator.faults.order(Fault(kind="experiments/search", nth=2, times=10_000, broken=True))
    with pytest.raises(TryAgain, match="breaks off"):
        one.export()
    one.emulator.faults.forget()
    assert [table.digest for table in one.export().tables] == [table.digest for table in whole.tables]


def test_credentials_that_expire_end_the_export_and_it_goes_on_with_new_ones(tmp_path: Path) -> None:
    """What was read before stays read."""
    path = make_store(tmp_path / "mlflow.db")
    with serve_store(path) as (emulator, store):
        server = Server(emulator, store, path, (tmp_path / "export").as_uri())
        for kind, first in (("runs/get", 6), ("experiments/search", 2)):
            emulator.faults.order(Fault(kind=kind, nth=first, times=10_000, status=401))
        with pytest.raises(BadSetup, match=r"answered 401.*MLFLOW_TRACKING_TOKEN"):
            server.export()
        assert len(OBJECTS.list(f"{server.uri}/batches/")) == 1
        emulator.faults.forget()
        assert server.export().missing == []
        assert emulator.faults.count("runs/get", "a" * 32) == 0


class FullDisk(FileObjects):
    """Files on a disk that is full after a number of them."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        if self.room == 0:
            raise TryAgain(f"could not write {uri}: the disk is full: make room, then try again; nothing was changed")
        self.room -= 1
        return super().write(uri, data, if_generation=if_generation)


def test_full_disk_ends_the_export_and_it_goes_on_when_there_is_room(one: Server) -> None:
    """Nothing is half written, and no batch is read twice."""
    disk = FullDisk(12)
    with pytest.raises(TryAgain, match="the disk is full"):
        one.export(objects=disk)
    done = len(OBJECTS.list(f"{one.uri}/batches/"))
    assert done
    one.emulator.faults.forget()
    disk.room = 10_000
    export = one.export(objects=disk)
    assert export.missing == []
    assert one.emulator.faults.count("runs/get", "a" * 32) == 0


def test_part_that_is_lost_or_damaged_is_mended_by_the_same_call(one: Server) -> None:
    """In mid-export: its batch is read again. Found by the check at the end: that fails, and the next call mends it."""
    one.emulator.faults.order(Fault(kind="experiments/search", nth=2, times=10_000, status=503))
    with pytest.raises(TryAgain):
        one.export()
    one.emulator.faults.forget()
    (lost, *_) = OBJECTS.list(f"{one.uri}/tables/metrics/")
    OBJECTS.delete(lost, if_generation=ANY)
    assert one.export().missing == []
    whole = read_export(one.uri, OBJECTS)

    def damage(moved: Moved) -> None:
        if moved.stage == "looking for artifacts":
            OBJECTS.write(lost, b"damaged", if_generation=ANY)

    with pytest.raises(BadRecord, match=r"tables/metrics/"):
        one.export(watch=damage)
    assert [table.digest for table in one.export().tables] == [table.digest for table in whole.tables]


def test_export_that_lacks_a_part_is_not_read(one: Server) -> None:
    """It is not described, and its models are not taken."""
    export = one.export()
    (part,) = export.table("registered_models").parts
    OBJECTS.delete(f"{one.uri}/{part.name}", if_generation=ANY)
    with pytest.raises(BadRecord, match="this part of the export is missing"):
        open_export(one.uri, OBJECTS).describe()
    with pytest.raises(BadSetup, match="this part of the export is missing"):
        ExportSource(one.uri, OBJECTS).read_models()


def test_export_of_a_database_is_not_replaced_by_what_a_server_tells(one: Server) -> None:
    """It keeps more."""
    export_store(f"sqlite:///{one.path}", one.uri, OBJECTS)
    with pytest.raises(BadRequest, match=r"an export of a sqlite database is at .* export to another place"):
        one.export()


def test_slower_of_two_exports_to_one_place_fails(one: Server) -> None:
    """What the faster one wrote stays whole."""

    def overtake(moved: Moved) -> None:
        if moved.stage == "checking" and moved.done == moved.rows:
            one.change("UPDATE params SET value = value || 'x'")
            one.export()

    with pytest.raises(StaleWrite, match="ended meanwhile"):
        one.export(watch=overtake)
    open_export(one.uri, OBJECTS).describe()


def test_batches_of_another_server_are_not_taken(one: Server, tmp_path: Path) -> None:
    """Two servers may have runs of the same ids, as after a restore."""
    one.emulator.faults.order(Fault(kind="experiments/search", nth=2, times=10_000, status=503))
    with pytest.raises(TryAgain):
        one.export()
    path = make_store(tmp_path / "other.db")
    with serve_store(path) as (emulator, store):
        Server(emulator, store, path, one.uri).export()
        assert emulator.faults.count("runs/get", "a" * 32) == 2


def test_parts_have_no_more_rows_than_asked_for(one: Server) -> None:
    """One part is in memory at a time; progress is told in runs."""
    seen: list[Moved] = []
    export = one.export(part_rows=300, watch=seen.append)
    assert max(part.rows for part in export.parts) <= 300
    assert len(export.table("metrics").parts) >= 9
    reading = [(moved.done, moved.rows) for moved in seen if (moved.stage, moved.unit) == ("reading", "runs")]
    assert (reading[0], reading[-1]) == ((0, len(RUNS)), (len(RUNS), len(RUNS)))


def test_more_runs_than_a_page_are_exported_in_the_order_of_their_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader finds a run's part by its first and last run."""
    monkeypatch.setattr(export_batches, "RUNS", 100)
    monkeypatch.setattr(from_tracking, "_RUNS_AT_ONCE", 20)
    runs = [
        make_small({"loss": make_points((0, i / 64))}, info=make_info(run_id=f"{i * 7_919 % 997:032x}"))
        for i in range(1, 250)
    ]
    path = make_store(tmp_path / "mlflow.db", [*runs, make_run(run_id="f" * 32, epochs=2)])
    with serve_store(path) as (emulator, store):
        server = Server(emulator, store, path, (tmp_path / "export").as_uri())
        export = server.export()
    firsts = [part.first_run for part in export.table("metrics").parts]
    assert firsts == sorted(firsts)
    assert len(digests(server.uri)) == 250
