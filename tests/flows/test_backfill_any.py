"""From an MLflow store of runs that no two-tower trainer logged, through backfill, to what a reader gets over HTTP."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from flows.answers.backfill import BackfillFailed, BackfillResult
from flows.backfill import backfill
from serving.app import create_app
from switchyard.clients.connect import Outside
from switchyard.core.backfill.plan import NO_CURVE
from switchyard.core.mlflow.raw_run import Points, RawRun
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.core.mlflow.factories import START_MS, make_info, make_points

pytestmark = pytest.mark.usefixtures("prefect_server")


def fall(steps: Iterable[int], every_ms: int = 900) -> Points:
    return make_points(*((step, i * every_ms, 4 / (i + 2)) for i, step in enumerate(steps)))


def unstepped(count: int, every_ms: int) -> Points:
    return make_points(*((0, i * every_ms + 1, 4 / (i + 2)) for i in range(count)))


ONCE = make_points((0, 10, 0.91))
RUNS: dict[str, dict[str, Points]] = {
    "steps of batches": {"val_loss": fall(range(99, 4_000, 100))},
    "batches and validation": {"loss": fall(range(2_000), 9), "val_loss": fall(range(49, 2_000, 50))},
    "every tenth step": {key: fall(range(10, 1_210, 10)) for key in ("loss", "eval_loss", "learning_rate")},
    "other names": {key: fall(range(25)) for key in ("train_loss", "val_loss", "train_acc", "val_acc")},
    "slashes": {key: fall(range(25)) for key in ("train/loss", "eval/loss", "eval/mAP_50")},
    "values alone": {"accuracy": ONCE, "rmse": ONCE},
    "no steps": {"loss": unstepped(30, 1_000), "val_loss": unstepped(6, 5_000)},
    "a search": {"best_rmse": ONCE},
    "trial 0": {"rmse": ONCE},
    "trial 1": {"rmse": ONCE},
    "running": {"loss": fall(range(5))},
    "params alone": {},
    "tags alone": {},
    "no status": {"loss": fall(range(5))},
    "a test series": {"loss": fall(range(20)), "test_accuracy": fall(range(20))},
    "one epoch": {"train_loss": ONCE, "val_loss": ONCE},
    "said again": {"rmse": make_points((4, 0, 2.0), (4, 500, 1.0))},
}
IDS = {name: f"{7_000 + number:032x}" for number, name in enumerate(RUNS, 1)}
VALUES = ("values alone", "a search", "trial 0", "trial 1", "params alone", "said again")


def make_store(path: Path) -> Path:
    runs = []
    for name, metrics in RUNS.items():
        changes: dict[str, Any] = {"run_id": IDS[name], "name": name}
        changes |= {"status": "RUNNING", "ended_at_ms": None} if name == "running" else {}
        tags = {"stage": "draft"} if "alone" in name else {}
        if name.startswith("trial"):
            tags = {"mlflow.parentRunId": IDS["a search"], "mlflow.note.content": "a note"}
        params = {} if name == "tags alone" else {"model": name}
        runs.append(RawRun(info=make_info(**changes), metrics=metrics, params=params, tags=tags))
    make_sqlite(path)
    with sqlite3.connect(path) as connection:
        add_runs(connection, runs)
        connection.execute("UPDATE runs SET status = NULL WHERE name = 'no status'")
    connection.close()
    return path


@pytest.fixture
def path(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = make_store(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{made}")
    return made


@pytest.fixture
def client(outside: Outside) -> Iterator[TestClient]:
    with TestClient(create_app(outside)) as found:
        yield found


def run_now(**parameters: object) -> BackfillResult:
    result = backfill(**parameters)
    assert isinstance(result, BackfillResult)
    return result


def adopt_all() -> BackfillResult:
    """Which fails for the run without a status, and for no other."""
    with pytest.raises(
        BackfillFailed, match=r"^1 runs of MLflow could not be adopted: [^;]*it has no status"
    ) as raised:
        backfill(adopt=True, status="all")
    return raised.value.result


def read_all(outside: Outside, client: TestClient) -> dict[str, dict[str, Any]]:
    """The published history of each run, by its name, as a reader gets it."""
    names = {run_id: name for name, run_id in IDS.items()}
    found = {}
    for row in outside.ledger.list_backfill():
        answer = client.get(f"/api/quick-tests/{row.id}/training-history/")
        assert answer.status_code == 200
        found[names[row.mlflow_run_id]] = answer.json() | {"id": row.id}
    return found


def list_curves(history: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """By name: the first and the last step of each curve that a reader can draw."""
    on_axis = {f"loss.{name}": values for name, values in history["loss"].items()} | history["metrics"]
    ends = {name: [history["epochs"][0], history["epochs"][-1]] for name, values in on_axis.items() if any(values)}
    ends |= {name: [entry["steps"][0], entry["steps"][-1]] for name, entry in history["series"].items()}
    return {name: (first, last) for name, (first, last) in ends.items()}


def test_a_reader_sees_every_run_of_any_framework(outside: Outside, path: Path, client: TestClient) -> None:
    """All curves, last values and params; the parent of a nested run; what has little says so, everywhere the same."""
    dry = run_now(dry_run=True, adopt=True, status="all")
    assert dry.would_show.sentence == "would publish 9 with curves, 6 with values alone, 1 have nothing"
    result = adopt_all()
    assert (result.published, result.values_alone, len(result.skipped), result.failed) == (15, 6, 1, {})
    (left_out,) = result.left_out
    assert (left_out.mlflow_run_id, "no status" in left_out.why_not) == (IDS["no status"], True)
    found = read_all(outside, client)
    assert found.keys() == RUNS.keys() - {"no status"}
    assert found.pop("tags alone")["available"] is False
    for name, history in found.items():
        assert (name, history["available"], history["params"]) == (name, True, {"model": name})
        assert len(list_curves(history)) == (0 if name in VALUES else len(RUNS[name])), name
        assert (history["epochs"] == []) is (name in VALUES), name
        page = client.get(f"/quick-tests/{history['id']}").text
        assert ("This run has no curves" in page) is (name in VALUES), name
    lines = {line.quick_test_id: line.error for line in outside.ledger.read_ledger("backfill")}
    assert {name for name, history in found.items() if lines[history["id"]] == NO_CURVE} == set(VALUES)
    assert list_curves(found["steps of batches"]) == {"loss.val": (99, 3_999)}
    assert found["steps of batches"]["sampling"]["by"] == "position"
    assert list_curves(found["batches and validation"])["loss.train"][1] == 1_999
    assert set(list_curves(found["other names"])) >= {"loss.train", "loss.val"}
    assert set(list_curves(found["slashes"])) >= {"loss.train", "loss.val"}
    assert found["values alone"]["final_metrics"] == {"accuracy": 0.91, "rmse": 0.91}
    assert found["a search"]["final_metrics"] == {"best_rmse": 0.91}
    for trial in ("trial 0", "trial 1"):
        parent = {"quick_test_id": found["a search"]["id"], "mlflow_run_id": IDS["a search"]}
        assert (found[trial]["parent"], found[trial]["tags"]) == (parent, {"note": "a note"})
    assert found["params alone"]["tags"] == {"stage": "draft"}
    assert found["running"]["status"] == "partial"
    series = client.get(f"/api/quick-tests/{found['every tenth step']['id']}/series/").json()
    assert msgspec.json.encode(series).count(b'"kept":120') == 3


def test_the_run_that_was_running_is_brought_up_to_date(outside: Outside, path: Path, client: TestClient) -> None:
    """By the next backfill, without any flag; nothing else is read again."""
    adopt_all()
    with sqlite3.connect(path) as connection:
        ended = (START_MS + 90_000, IDS["running"])
        connection.execute("UPDATE runs SET status = 'FINISHED', end_time = ? WHERE run_uuid = ?", ended)
    connection.close()
    result = run_now()
    assert (result.to_do, result.published, len(result.skipped)) == (1, 1, 0)  # of tags alone: not changed
    assert read_all(outside, client)["running"]["status"] == "completed"
