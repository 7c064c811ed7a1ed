"""Runs that are adopted while they run, or before their parents: the next backfill brings them up to date."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.answers.backfill import BackfillResult
from flows.backfill import backfill
from flows.ingest import ingest
from switchyard.clients.connect import Outside, connect
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.runs.rows import RunStatus
from tests.clients.mlflow.stores import add_point, add_runs, make_sqlite
from tests.clients.results.places import Place
from tests.core.mlflow.factories import make_run, make_series
from tests.flows.mlflow_world import read_published

pytestmark = pytest.mark.usefixtures("prefect_server")

RUN = "a" * 32
HOUR_MS = 3_600_000


class Store:
    """An MLflow store that goes on while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = make_sqlite(path)

    def add(self, *runs: RawRun) -> None:
        with sqlite3.connect(self.path) as connection:
            add_runs(connection, list(runs))
        connection.close()

    def log(self, run_id: str, step: int, value: float, *, at_ms: int, key: str = "loss") -> None:
        with sqlite3.connect(self.path) as connection:
            add_point(connection, run_id, key, step, at_ms, value)
            connection.execute(
                "UPDATE latest_metrics SET step = ?, timestamp = ?, value = ? WHERE run_uuid = ? AND key = ?",
                (step, at_ms, value, run_id, key),
            )
        connection.close()

    def change(self, run_id: str, **columns: object) -> None:
        values = ", ".join(f"{name} = ?" for name in columns)
        with sqlite3.connect(self.path) as connection:
            connection.execute(f"UPDATE runs SET {values} WHERE run_uuid = ?", (*columns.values(), run_id))
        connection.close()


@pytest.fixture
def store(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{made.path}")
    return made


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def make_running(run_id: str = RUN, *, started_h: float = 1.0, epochs: int = 3) -> RawRun:
    """A run that began `started_h` hours ago, with a point each minute since."""
    start = now_ms() - int(started_h * HOUR_MS)
    run = make_run(
        {}, epochs=epochs, run_id=run_id, status="RUNNING", name="at work", started_at_ms=start, ended_at_ms=None
    )
    first = run.info.started_at_ms or 0
    moved = {
        key: msgspec.structs.replace(points, timestamps_ms=[first + 60_000 * (i + 1) for i in range(len(points.steps))])
        for key, points in run.metrics.items()
    }
    return msgspec.structs.replace(run, metrics=moved)


def run_now(**parameters: object) -> BackfillResult:
    result = backfill(**parameters)
    assert isinstance(result, BackfillResult)
    return result


def read_rows(outside: Outside) -> dict[str, Any]:
    return {row.mlflow_run_id: outside.runs.read_run(row.id) for row in outside.ledger.list_backfill()}


@pytest.mark.parametrize("full", [False, True])
def test_a_run_adopted_while_it_ran_is_brought_up_to_date(outside: Outside, store: Store, full: bool) -> None:
    """Status, times, name and history, and the file where one was written; whatever flags the next backfill has."""
    store.add(make_running())
    first = run_now(adopt=True, status="all", full=full)
    assert (first.adopted, first.published) == (1, 1)
    row = read_rows(outside)[RUN]
    history = read_published(outside, row.id)
    assert (row.status, history["status"], history["epochs"]) == (RunStatus.RUNNING, "partial", [0, 2])
    assert history["progress"]["epochs_done"] == 3
    # Nothing was logged since: nothing is read.
    assert run_now().to_do == 0
    at = now_ms() - 120_000
    store.log(RUN, 3, 0.125, at_ms=at)
    dry = run_now(dry_run=True)
    (line,) = dry.runs
    assert (line.todo, line.why) == ("bring up to date", "it has been logged to since")
    again = run_now()
    assert (again.to_do, again.published) == (1, 1)
    assert read_published(outside, row.id)["epochs"] == [0, 3]
    store.change(RUN, status="FINISHED", end_time=at + 1_000, name="done")
    assert run_now().published == 1
    row = read_rows(outside)[RUN]
    history = read_published(outside, row.id)
    assert (row.status, row.display_name, history["status"]) == (RunStatus.COMPLETED, "done", "completed")
    assert history["progress"] is None
    assert row.completed_at is not None
    assert int(row.completed_at.timestamp() * 1_000) == at + 1_000
    assert run_now().to_do == 0
    if full:
        assert history["histogram_available"]
        ingest(quick_test_id=row.id)
        assert read_published(outside, row.id)["cached_at"] == history["cached_at"]
        data, _ = outside.objects(row.gcs_artifacts_path).read(f"{row.gcs_artifacts_path}/training_metrics.json")
        found = msgspec.json.decode(data)
        assert (found["status"], found["epochs"]) == ("completed", [0, 1, 2, 3])
    assert not outside.histories.find_replaced(row.id)


@pytest.mark.parametrize("full", [False, True])
def test_a_run_that_an_application_calls_completed_is_brought_up_to_date(
    application: Place, store: Store, full: bool
) -> None:
    """It went on in MLflow when its row's history was published; the next backfill replaces what we wrote ourselves.

    No flag is needed. The row's status is its application's.
    """
    store.add(make_running())
    row = application.add_run(status="completed")
    application.sql(f"UPDATE {application.table} SET mlflow_run_id = :run WHERE id = :id", run=RUN, id=row)
    assert run_now(full=full).published == 1
    before = read_published(connect(), row)
    assert (before["status"], before["epochs"], before["progress"]["epochs_done"]) == ("partial", [0, 2], 3)
    assert run_now().to_do == 0
    at = now_ms() - 120_000
    store.log(RUN, 3, 0.125, at_ms=at)
    store.change(RUN, status="FINISHED", end_time=at + 1_000)
    (line,) = run_now(dry_run=True).runs
    assert (line.todo, line.why) == ("bring up to date", "MLflow says FINISHED")
    assert run_now().published == 1
    after = read_published(connect(), row)
    assert (after["status"], after["progress"], after["epochs"]) == ("completed", None, [0, 3])
    assert connect().runs.read_run(row).status is RunStatus.COMPLETED
    assert run_now().to_do == 0
    if full:
        folder = connect().runs.read_run(row).gcs_artifacts_path
        data, _ = connect().objects(folder).read(f"{folder}/training_metrics.json")
        assert (msgspec.json.decode(data)["status"], after["histogram_available"]) == ("completed", True)


def test_a_history_that_the_application_has_written_over_ours_is_final(application: Place, store: Store) -> None:
    """Its run goes on in MLflow, and no one asks about it any more."""
    store.add(make_running())
    row = application.add_run(status="done")
    application.sql(f"UPDATE {application.table} SET mlflow_run_id = :run WHERE id = :id", run=RUN, id=row)
    run_now(status="all")
    theirs = {"available": True, "epochs": [0], "loss": {"train": [0.5]}, "status": "partial", "note": "x" * 400}
    application.set_history(row, msgspec.json.encode(theirs).decode())
    store.change(RUN, status="FINISHED", end_time=now_ms())
    result = run_now()
    assert (result.to_do, result.published, result.failed) == (0, 0, {})
    assert read_published(connect(), row) == theirs


def test_a_run_that_never_ends_is_called_stale_until_it_goes_on(outside: Outside, store: Store) -> None:
    """After a time that is a parameter, on its row and its ledger line; what was published stays."""
    store.add(make_running(started_h=5))
    run_now(adopt=True, status="all")
    assert read_rows(outside)[RUN].status is RunStatus.RUNNING
    assert run_now(stale_after_hours=3).published + run_now(stale_after_hours=3).published == 0
    row = read_rows(outside)[RUN]
    assert row.status is RunStatus.FAILED
    assert row.error.startswith(f"stale: MLflow run {RUN} is RUNNING there, but nothing was logged to it since ")
    (line,) = outside.ledger.read_ledger("backfill")
    assert (line.state, line.error) == ("stale", row.error)
    assert read_published(outside, row.id)["status"] == "partial"
    store.log(RUN, 3, 0.125, at_ms=now_ms() - 60_000)
    assert run_now(stale_after_hours=3).published == 1
    row = read_rows(outside)[RUN]
    assert (row.status, row.error) == (RunStatus.RUNNING, "")
    store.change(RUN, status="KILLED", end_time=now_ms())
    assert run_now().published == 1
    assert read_rows(outside)[RUN].status is RunStatus.CANCELLED
    assert run_now(status="all").to_do == 0


def test_a_run_without_a_point_follows_mlflow_too(outside: Outside, store: Store) -> None:
    """Its row is failed when it is stale, runs again when it has a point, and ends with it."""
    empty = msgspec.structs.replace(make_running(started_h=5), metrics={}, params={})
    store.add(empty)
    assert list(run_now(adopt=True, status="all").skipped) == [1]
    assert list(run_now(status="all", stale_after_hours=3).skipped) == [1]
    assert read_rows(outside)[RUN].status is RunStatus.FAILED
    store.change(RUN, status="FINISHED", end_time=now_ms())
    run_now()
    row = read_rows(outside)[RUN]
    assert (row.status, row.error) == (RunStatus.COMPLETED, "")


def test_mlflow_that_is_gone_is_no_obstacle(outside: Outside, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was adopted while it ran is listed then, and the flow ends well."""
    store.add(make_running())
    run_now(adopt=True, status="all")
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    result = run_now()
    assert (result.to_do, result.failed) == (0, {})
    (line,) = result.left_out
    assert "MLflow cannot be asked what became of it: no MLflow is named" in line.why_not


def make_nested(run_id: str, parent: str = "", **info: Any) -> RawRun:
    tags = {"mlflow.parentRunId": parent, "mlflow.note.content": "a note", "stage": "draft"} if parent else {}
    loss = {"loss": make_series([1.0, ord(run_id[0]) / 256])}
    return msgspec.structs.replace(make_run(loss, run_id=run_id, **info), tags=tags)


def read_parents(outside: Outside) -> dict[str, Any]:
    rows = outside.ledger.list_backfill()
    return {row.mlflow_run_id[0]: read_published(outside, row.id).get("parent") for row in rows}


def test_nested_runs_know_their_parent_in_whatever_order_they_are_adopted(outside: Outside, store: Store) -> None:
    """A parent that is adopted later, that is deleted, that is no one's, or that is the run itself."""
    a, b, c, d, e = (letter * 32 for letter in "abcde")
    store.add(
        make_nested(a, b),  # nested in a run that is still running
        make_nested(b, status="RUNNING", ended_at_ms=None),
        make_nested(c, d),
        make_nested(d, c),  # in a circle
        make_nested(e, e),
    )
    run_now(adopt=True)
    ids = {row.mlflow_run_id: row.id for row in outside.ledger.list_backfill()}
    assert read_parents(outside) == {
        "a": {"quick_test_id": None, "mlflow_run_id": b},
        "c": {"quick_test_id": ids[d], "mlflow_run_id": d},
        "d": {"quick_test_id": ids[c], "mlflow_run_id": c},
        "e": {"quick_test_id": ids[e], "mlflow_run_id": e},
    }
    assert read_published(outside, ids[a])["tags"] == {"note": "a note", "stage": "draft"}
    cached_at = read_published(outside, ids[a])["cached_at"]
    assert run_now().to_do == 0
    result = run_now(adopt=True, status="all")
    assert result.published == 2
    ids = {row.mlflow_run_id: row.id for row in outside.ledger.list_backfill()}
    parents = read_parents(outside)
    assert parents["a"] == {"quick_test_id": ids[b], "mlflow_run_id": b}
    assert parents["b"] is None
    assert read_published(outside, ids[a])["cached_at"] == cached_at  # its curves are the same
    assert run_now().to_do == 0


def test_a_parent_that_is_deleted_is_named_without_a_row(outside: Outside, store: Store) -> None:
    """Deleted in MLflow, so that it is not adopted; or not there at all."""
    a, b, c = (letter * 32 for letter in "abc")
    store.add(make_nested(a, b), make_nested(b, lifecycle="deleted"), make_nested(c, "f" * 32))
    run_now(adopt=True, status="all")
    assert read_parents(outside) == {
        "a": {"quick_test_id": None, "mlflow_run_id": b},
        "c": {"quick_test_id": None, "mlflow_run_id": "f" * 32},
    }
    assert run_now().to_do == 0
