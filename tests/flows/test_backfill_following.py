"""Backfill again and again over an MLflow store that is in use: what it reads, replaces, marks and tells."""

import sqlite3
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from prefect.client.orchestration import get_client
from starlette.testclient import TestClient

from flows.answers.backfill import BackfillFailed, BackfillResult
from flows.backfill import backfill
from flows.recover import recover
from serving.app import create_app
from switchyard.clients.connect import Outside
from switchyard.core.backfill.following import CHANGED, NOT_KNOWN, to_unadopted_kind
from switchyard.core.errors import BadSetup
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.runs.rows import RunStatus
from tests.clients.mlflow.folders import write_folder
from tests.clients.mlflow.stores import add_runs
from tests.clients.results.places import NOW, publication, run_sql
from tests.core.mlflow.factories import START_MS, make_run, make_series, make_small
from tests.flows.mlflow_world import add_row, make_sqlite_store, read_published

pytestmark = pytest.mark.usefixtures("prefect_server")

A, B, C, D = (letter * 32 for letter in "abcd")


def run_now(**parameters: object) -> BackfillResult:
    result = backfill(**parameters)
    assert isinstance(result, BackfillResult)
    return result


def make_one(run_id: str, **info: Any) -> RawRun:
    loss = {"loss": make_series([1 / (2 + ord(run_id[0]) + i) for i in range(6)])}
    return msgspec.structs.replace(
        make_small(loss), info=make_run(run_id=run_id, name=f"run {run_id[0]}", **info).info, params={"lr": run_id[0]}
    )


class Store:
    """An MLflow store in a file, which people go on to use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = make_sqlite_store(path, [make_one(A), make_one(B), make_one(C)])

    def sql(self, statement: str, *values: object) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute(statement, values)
        connection.close()

    def tag(self, run_id: str, key: str, value: str) -> None:
        self.sql("INSERT OR REPLACE INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", run_id, key, value)

    def log(self, run_id: str, step: int, value: float) -> None:
        """A late point, as MLflow stores it."""
        at = START_MS + 1_000_000 + step
        row = (run_id, "loss", step, at, value)
        self.sql("INSERT INTO metrics (run_uuid, key, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, ?, 0)", *row)
        self.sql(
            "UPDATE latest_metrics SET step = ?, timestamp = ?, value = ? WHERE run_uuid = ? AND key = 'loss'",
            *(step, at, value, run_id),
        )

    def set_stage(self, run_id: str, stage: str) -> None:
        self.sql("UPDATE runs SET lifecycle_stage = ? WHERE run_uuid = ?", stage, run_id)

    def remove(self, *run_ids: str) -> None:
        """For good, as `mlflow gc` does."""
        for run_id in run_ids:
            for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
                self.sql(f"DELETE FROM {table} WHERE run_uuid = ?", run_id)

    def add(self, run: RawRun) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            add_runs(connection, [run])
        connection.close()


@pytest.fixture
def store(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", made.uri)
    return made


def ids_of(outside: Outside) -> dict[str, int]:
    return {row.mlflow_run_id: row.id for row in outside.ledger.list_backfill()}


def show(outside: Outside, path: str) -> str:
    with TestClient(create_app(outside)) as client:
        return client.get(path).text


def find_artifact() -> UUID:
    """Prefect's newest table of a backfill."""
    with get_client(sync_client=True) as client:
        (found,) = (one.latest_id for one in client.read_latest_artifacts() if one.key == "backfill")
    return found


def test_what_has_changed_is_read_and_replaced_and_nothing_else(outside: Outside, store: Store) -> None:
    """A tag, a param, a late point, and a new run are read; a dry run lists them and notes nothing.

    `recover` puts back what a change has replaced, and the next look leaves that alone.
    """
    assert run_now(adopt=True, status="all").published == 3
    assert run_now(adopt=True, status="all").to_do == 0
    ids = ids_of(outside)
    store.tag(A, "team", "search")
    store.log(B, 6, 0.015625)
    store.sql("INSERT INTO params (run_uuid, key, value) VALUES (?, 'late', '1')", B)
    store.add(make_one(D))
    dry = run_now(adopt=True, status="all", dry_run=True)
    assert [(run.mlflow_run_id, run.todo, run.why) for run in dry.runs] == [
        (A, "bring up to date", CHANGED),
        (B, "bring up to date", CHANGED),
        (D, "adopt and publish", ""),
    ]
    result = run_now(adopt=True, status="all")
    assert (result.to_do, result.published, result.failed) == (3, 3, {})
    assert read_published(outside, ids[A])["tags"] == {"team": "search"}
    changed = read_published(outside, ids[B])
    assert (changed["params"], changed["epochs"], changed["loss"]["total"][-1:]) == (
        {"lr": "b", "late": "1"},
        [0, 5, 6],
        changed["loss"]["total"][-1:],
    )
    lines = {line.quick_test_id: line.attempts for line in outside.ledger.read_ledger("backfill")}
    assert lines == {ids[A]: 2, ids[B]: 2, ids[C]: 1, ids_of(outside)[D]: 1}
    recover(quick_test_id=ids[B])
    assert read_published(outside, ids[B])["params"] == {"lr": "b"}
    assert run_now(adopt=True, status="all").to_do == 0


def test_a_change_that_could_not_be_read_is_tried_again(outside: Outside, store: Store) -> None:
    """The others are brought up to date; the page says which look failed, and until when MLflow was followed before."""
    run_now(adopt=True, status="all")
    (before,) = outside.followed.list_stores()
    assert before.followed_until == before.tried_at
    store.tag(A, "team", "search")
    store.sql("UPDATE runs SET status = NULL WHERE run_uuid = ?", B)
    for _ in range(2):
        with pytest.raises(BackfillFailed, match="1 of"):
            run_now(adopt=True, status="all")
    (after,) = outside.followed.list_stores()
    assert (after.failed, after.followed_until) == (1, before.followed_until)
    page = show(outside, "/quick-tests/")
    assert "MLflow followed until" in page
    assert "could not bring 1 run up to date" in page
    store.sql("UPDATE runs SET status = 'FINISHED' WHERE run_uuid = ?", B)
    run_now(adopt=True, status="all")
    (ended,) = outside.followed.list_stores()
    assert ended.failed == 0
    assert ended.followed_until is not None
    assert ended.followed_until > after.tried_at
    assert "could not bring" not in show(outside, "/quick-tests/")


def test_a_look_that_finds_nothing_changed_shows_nothing(outside: Outside, store: Store) -> None:
    """It says until when MLflow is followed; Prefect's table stays that of the last backfill that did something."""
    run_now(adopt=True, status="all")
    before, (first,) = find_artifact(), outside.followed.list_stores()
    for parameters in ({"adopt": True, "status": "all"}, {}):
        assert run_now(**parameters).to_do == 0
        assert find_artifact() == before
    (last,) = outside.followed.list_stores()
    assert first.followed_until is not None
    assert last.followed_until is not None
    assert last.tried_at > last.followed_until > first.followed_until  # the second look was not at runs without a row
    store.tag(A, "team", "search")
    assert run_now().published == 1
    assert find_artifact() != before


def test_a_run_that_is_deleted_keeps_its_history_marked(outside: Outside, store: Store) -> None:
    """Deleted, and gone for good after two looks; restored, the mark goes.

    A store that was emptied is not believed, but where someone says that it is right.
    """
    run_now(adopt=True, status="all")
    ids = ids_of(outside)
    before = {run_id: read_published(outside, id_) for run_id, id_ in ids.items()}
    store.set_stage(A, "deleted")
    store.remove(B)
    run_now(adopt=True, status="all")
    assert outside.followed.find_deleted(list(ids.values())).keys() == {ids[A]}
    run_now(adopt=True, status="all")
    assert outside.followed.find_deleted(list(ids.values())).keys() == {ids[A], ids[B]}
    assert {run_id: read_published(outside, id_) for run_id, id_ in ids.items()} == before
    assert "deleted in MLflow" in show(outside, f"/quick-tests/{ids[A]}")
    assert "deleted in MLflow" not in show(outside, f"/quick-tests/{ids[C]}")
    assert show(outside, "/quick-tests/").count("deleted in MLflow") == 2
    with TestClient(create_app(outside)) as client:
        items = client.get("/api/quick-tests/?order_by=id asc").json()["items"]
    assert [item["mlflow_deleted_at"] is not None for item in items] == [True, True, False]
    store.set_stage(A, "active")
    store.add(make_one(B))
    run_now(adopt=True, status="all")
    assert outside.followed.find_deleted(list(ids.values())) == {}
    (last,) = outside.followed.list_stores()
    store.remove(A, B, C)
    for _ in range(3):
        with pytest.raises(BackfillFailed, match=r"^3 of the 3 runs that were followed are not in MLflow any more"):
            run_now(adopt=True, status="all")
    assert outside.followed.find_deleted(list(ids.values())) == {}
    (after,) = outside.followed.list_stores()
    assert after.followed_until == last.followed_until
    assert "--accept-missing" in after.error
    run_now(adopt=True, status="all", accept_missing=True)
    assert outside.followed.find_deleted(list(ids.values())).keys() == set(ids.values())
    run_now(adopt=True, status="all")
    (ended,) = outside.followed.list_stores()
    assert (ended.error, ended.followed_until) == ("", ended.tried_at)


def test_another_store_at_the_same_address_is_refused_until_somebody_accepts_it(outside: Outside, store: Store) -> None:
    """Nothing of it is read or adopted, and no run of the first one is marked, before and after.

    Accepted, it is followed from the start, and the first one's runs are not looked for in it.
    """
    run_now(adopt=True, status="all")
    ids = ids_of(outside)
    store.path.rename(store.path.with_suffix(".first"))
    make_sqlite_store(store.path, [make_one(D)])
    store.sql("UPDATE experiments SET creation_time = creation_time + 1")
    for parameters in ({"adopt": True, "status": "all"}, {}, {"adopt": True, "dry_run": True}):
        with pytest.raises(BadSetup, match="is another MLflow than the one that was followed"):
            run_now(**parameters)
    assert ids_of(outside) == ids
    (refused,) = outside.followed.list_stores()
    assert "--accept-store" in refused.error
    assert run_now(adopt=True, status="all", accept_store=True).published == 1
    for _ in range(2):
        assert run_now(adopt=True, status="all").to_do == 0
    assert outside.followed.find_deleted(list(ids.values())) == {}
    (accepted,) = outside.followed.list_stores()
    assert (accepted.error, accepted.followed_until) == ("", accepted.tried_at)
    assert {known.store for known in outside.followed.list_known().values() if known.quick_test_id in ids.values()} == {
        f"{refused.store} (another one, until {_minute_of(outside)})"
    }


def _minute_of(outside: Outside) -> str:
    """When the store was accepted, as the notes of the first one's runs say it."""
    names = {known.store for known in outside.followed.list_known().values()}
    (found,) = [name.partition("until ")[2].rstrip(")") for name in names if "another one" in name]
    return found


def test_a_store_that_was_moved_is_the_same(outside: Outside, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read at another address, its unchanged runs are not read again; one that is gone there is found to be gone.

    A store that has none of its experiments is refused there, too.
    """
    run_now(adopt=True, status="all")
    ids = ids_of(outside)
    moved = store.path.rename(store.path.with_name("moved.db"))
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{moved}")
    store.path = moved
    store.remove(B)
    for _ in range(2):
        assert run_now(adopt=True, status="all").to_do == 0
    assert outside.followed.find_deleted(list(ids.values())).keys() == {ids[B]}
    other = make_sqlite_store(moved.with_name("other.db"), [make_one(D)])
    store.path = moved.with_name("other.db")
    store.sql("UPDATE experiments SET creation_time = creation_time + 1")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", other)
    for _ in range(2):
        with pytest.raises(BadSetup, match="is another MLflow than the one that was followed"):
            run_now(adopt=True, status="all")
    assert run_now(adopt=True, status="all", accept_store=True).published == 1
    assert run_now(adopt=True, status="all").to_do == 0


def test_a_machine_whose_clock_is_behind_logs_on(outside: Outside, store: Store) -> None:
    """Its points are older than those that were read, and than those of a run that is alive may be: they are read.

    The run is called running until it stands still.
    """
    store.add(make_one(D, status="RUNNING", ended_at_ms=None))
    run_now(adopt=True, status="all")
    id_ = ids_of(outside)[D]
    assert outside.runs.read_run(id_).status is RunStatus.FAILED  # nothing was logged to it for long
    store.sql("UPDATE latest_metrics SET step = 6, timestamp = 1000, value = 0.5 WHERE run_uuid = ?", D)
    store.sql(
        "INSERT INTO metrics (run_uuid, key, step, timestamp, value, is_nan) VALUES (?, 'loss', 6, 1000, 0.5, 0)", D
    )
    assert run_now(adopt=True, status="all").published == 1
    assert outside.runs.read_run(id_).status is RunStatus.RUNNING
    assert read_published(outside, id_)["epochs"][-1] == 6
    run_now(adopt=True, status="all")
    assert outside.runs.read_run(id_).status is RunStatus.FAILED


def test_mlflow_is_followed_until_a_look_that_left_no_run_aside(outside: Outside, store: Store) -> None:
    """Not without those that have no row, of other experiments, or not completed, nor by a part.

    Where all have a row, nothing is to be adopted.
    """
    run_now(adopt=True, status="all")
    (before,) = outside.followed.list_stores()
    store.add(make_one(D, status="FAILED"))
    for parameters in ({"status": "all"}, {"adopt": True}, {"adopt": True, "status": "all", "limit": 9}, {}):
        run_now(**parameters)
        (found,) = outside.followed.list_stores()
        assert found.tried_at > before.tried_at
        assert found.followed_until == before.followed_until
    store.add(make_one("e" * 32, experiment_id="8", experiment="other"))
    run_now(adopt=True, status="all", experiments=["two-tower"])
    (found,) = outside.followed.list_stores()
    assert found.followed_until == before.followed_until
    run_now(adopt=True, status="all")
    (found,) = outside.followed.list_stores()
    assert found.followed_until == found.tried_at
    run_now(status="all")  # as over an application's own table
    (later,) = outside.followed.list_stores()
    assert later.followed_until == later.tried_at > found.tried_at


def test_a_run_that_cannot_be_read_fails_whether_it_has_a_row_or_not(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a line in the ledger that says why; the others are brought up to date.

    Once both can be read again, the same command does the rest.
    """
    root = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", root)
    folders = write_folder(root, [make_one(A), make_one(B)])
    run_now(adopt=True, status="all")
    (before,) = outside.followed.list_stores()
    ids = ids_of(outside)
    changed = msgspec.structs.replace(make_one(A), tags={"team": "search"})
    folders = write_folder(root, [changed, make_one(B), make_one(C)])
    files = [Path(folders[run_id].removeprefix("file://")) / "meta.yaml" for run_id in (B, C)]
    whole = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(b"status: [")
    for _ in range(2):
        with pytest.raises(
            BackfillFailed, match=r"could not be published.*1 runs of MLflow could not be adopted"
        ) as raised:
            run_now(adopt=True, status="all")
        assert raised.value.result.failed.keys() == {ids[B]}
        assert raised.value.result.unadopted.keys() == {C}
    assert read_published(outside, ids[A])["tags"] == {"team": "search"}
    states = {line.quick_test_id: line.state for line in outside.ledger.read_ledger("backfill")}
    assert states == {ids[A]: "done", ids[B]: "failed"}
    (after,) = outside.followed.list_stores()
    assert (after.failed, after.followed_until) == (2, before.followed_until)
    kind = to_unadopted_kind(after.store, C)
    (line,) = outside.ledger.read_ledger(kind)
    assert (line.state, line.attempts, C in line.error, "meta.yaml" in line.error) == ("failed", 2, True, True)
    assert outside.followed.find_deleted(list(ids.values())) == {}
    for file, data in zip(files, whole, strict=True):
        file.write_bytes(data)
    result = run_now(adopt=True, status="all")
    assert (result.adopted, result.failed) == (1, {})
    assert outside.ledger.read_ledger(kind) == []
    (ended,) = outside.followed.list_stores()
    assert ended.followed_until == ended.tried_at


def test_what_was_published_before_anyone_followed_is_read_once(outside: Outside, store: Store) -> None:
    """And found unchanged, as a database of an older schema has it.

    Another application's history, and a run's own file, are not touched.
    """
    run_now(adopt=True, status="all")
    ids = ids_of(outside)
    store.add(make_one(D))
    outside.histories.publish(publication(add_row(outside, D), mlflow_run_id=D), now=NOW)
    url = outside.settings.results_url
    run_sql(url, "DELETE FROM switchyard_followed")
    dry = run_now(dry_run=True)
    assert {run.quick_test_id: run.why for run in dry.runs if run.why} == dict.fromkeys(ids.values(), NOT_KNOWN)
    result = run_now()
    assert (result.published, result.unchanged) == (0, 3)
    assert [run.why for run in run_now(dry_run=True).runs if run.why] == []


def test_an_mlflow_that_is_away_is_said(outside: Outside, store: Store) -> None:
    """What was published stays, and the line of the page says that the last try could not ask it."""
    run_now(adopt=True, status="all")
    moved = store.path.rename(store.path.with_suffix(".away"))
    with pytest.raises(BackfillFailed, match=r"cannot be asked what has changed: .*must name an MLflow"):
        run_now()
    (found,) = outside.followed.list_stores()
    assert "must name an MLflow backend store" in found.error
    assert "could not follow it" in show(outside, "/quick-tests/")
    with pytest.raises(BadSetup, match="must name an MLflow"):
        run_now(adopt=True, status="all")  # as backfill/hourly does
    (later,) = outside.followed.list_stores()
    assert later.tried_at > found.tried_at
    assert "must name an MLflow backend store" in later.error
    moved.rename(store.path)
    run_now(limit=1)
    (found,) = outside.followed.list_stores()
    assert found.error == ""
    assert found.followed_until is not None
    assert found.followed_until < found.tried_at
