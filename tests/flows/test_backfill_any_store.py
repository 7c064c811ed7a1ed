"""A store of runs that are not two-tower runs, through backfill, to what a reader gets over HTTP.

Its own script makes it, and every run is read as it was logged.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.answers.backfill import BackfillFailed, BackfillResult
from flows.backfill import backfill
from serving.app import create_app
from switchyard.clients.connect import Outside
from switchyard.core.runs.rows import RunStatus
from tests.clients.mlflow.stores import FIXTURES, SQLITE_SCHEMA

pytestmark = pytest.mark.usefixtures("prefect_server")

MAKER = FIXTURES.parent / "cases" / "make_mlflow_any.py"
RUNNING = f"{7_011:032x}"

CURVES: dict[str, dict[str, tuple[int, int, int]]] = {
    "epoch ends at steps 99, 199, ... as loggers that count batches do": {"loss.val": (99, 3_999, 40)},
    "a point each batch, validation each 250th": {"loss.train": (0, 9_999, 10_000), "val_loss": (249, 9_999, 40)},
    "every 10th step": dict.fromkeys(("loss.train", "loss.val", "metrics.learning_rate"), (10, 1200, 120)),
    "names of other frameworks": dict.fromkeys(
        ("loss.train", "loss.val", "metrics.train_acc", "metrics.val_acc"), (0, 24, 25)
    ),
    "names with slashes": dict.fromkeys(("loss.train", "loss.val", "metrics.eval/mAP_50"), (0, 24, 25)),
    "one value each and no curve": {},
    "points without steps, series of two lengths": {"loss.train": (0, 29, 30), "val_loss": (0, 5, 6)},
    "a search": {},
    "trial 0": {},
    "trial 1": {},
    "still running": {"loss.train": (0, 4, 5)},
    "params and tags alone": {},
    "a test series by epoch": {"loss.train": (0, 19, 20), "metrics.test_accuracy": (0, 19, 20)},
}
"""Of each run's curves, by the place in its history: first step, last step, and points at full resolution."""

FINAL: dict[str, dict[str, float]] = {
    "one value each and no curve": {"accuracy": 0.91, "rmse": 3.2},
    "a search": {"best_rmse": 2.9},
    "trial 0": {"rmse": 3.0},
    "trial 1": {"rmse": 2.9},
    "a test series by epoch": {"test_accuracy": 0.95},
}
PARAMS: dict[str, dict[str, str]] = {
    "one value each and no curve": {"model": "random forest", "n_estimators": "300"},
    "a search": {"trials": "2"},
    "trial 0": {"depth": "4"},
    "trial 1": {"depth": "5"},
    "params and tags alone": {"lr": "0.1"},
}
TAGS = {"trial 0": {"note": "a note"}, "trial 1": {"note": "a note"}, "params and tags alone": {"stage": "draft"}}


@pytest.fixture
def store(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store that the settings name."""
    if not MAKER.exists():
        pytest.skip(f"what makes the store is not at {MAKER}")
    path = tmp_path / "any.db"
    subprocess.run([sys.executable, str(MAKER), str(SQLITE_SCHEMA), str(path)], check=True, capture_output=True)
    with closing(sqlite3.connect(path)) as database, database:
        # It began in 2024, and would be stale.
        database.execute("UPDATE runs SET start_time = ? WHERE run_uuid = ?", (int(time.time() * 1000), RUNNING))
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{path}")
    return path


@pytest.fixture
def client(outside: Outside) -> Iterator[TestClient]:
    """Serving, over the same database."""
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
    """Each run's history with its full series and its row's id, by its name, as a reader gets them."""
    found = {}
    for row in outside.ledger.list_backfill():
        answers = [client.get(f"/api/quick-tests/{row.id}/{part}/") for part in ("training-history", "series")]
        assert [answer.status_code for answer in answers] == [200, 200]
        history, series = (answer.json() for answer in answers)
        name = outside.runs.read_run(row.id).display_name
        found[name] = history | {"id": row.id, "whole": series, "page": client.get(f"/quick-tests/{row.id}")}
    return found


def list_curves(history: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """What can be drawn of a run, never less than two points a curve.

    First step and points are as the full series have them, because sampling may leave the first one out.
    """
    bare = {"loss.train": "loss", "loss.val": "val_loss"}
    last: dict[str, int] = {}
    for section in ("loss", "metrics"):
        for name, values in history[section].items():
            if values:
                assert len(values) == len(history["epochs"]) >= 2
                last[f"{section}.{name}"] = history["epochs"][-1]
    for name, entry in history["series"].items():
        assert len(entry["values"]) == len(entry["steps"]) == entry["kept"] >= 2
        last[name] = entry["steps"][-1]
    curves = {}
    for name, step in last.items():
        entry = history["whole"]["series"][bare.get(name, name.removeprefix("metrics."))]
        steps = entry.get("steps", history["whole"]["epochs"])
        assert (len(steps), steps[-1]) == (entry["kept"], step)
        curves[name] = (steps[0], step, entry["total"])
    return curves


def test_every_run_is_read_over_http_as_it_was_logged(outside: Outside, store: Path, client: TestClient) -> None:
    """All of its curves with their own points, its last values, params and tags.

    Nested runs know their parent; the one with a status of null is listed, and stops no one.
    """
    result = adopt_all()
    (listed,) = result.left_out
    assert "no status in MLflow" in listed.why_not
    assert (result.published, result.values_alone, result.skipped, result.failed) == (13, 5, {}, {})
    found = read_all(outside, client)
    assert found.keys() == CURVES.keys()
    for name, history in found.items():
        assert (name, list_curves(history)) == (name, CURVES[name])
        assert (name, history["available"], history["whole"]["complete"]) == (name, True, True)
        assert (name, history["final_metrics"]) == (name, FINAL.get(name, {}))
        assert (name, history["params"], history["tags"]) == (name, PARAMS.get(name, {}), TAGS.get(name, {}))
        parent = {"quick_test_id": found["a search"]["id"], "mlflow_run_id": f"{7_008:032x}"}
        assert (name, history["parent"]) == (name, parent if name.startswith("trial") else None)
        assert history["page"].status_code == 200
        assert ("This run has no curves" in history["page"].text) is (not CURVES[name])
    by_position = found["epoch ends at steps 99, 199, ... as loggers that count batches do"]
    assert (by_position["sampling"]["by"], by_position["epochs"]) == ("position", [*range(99, 4_000, 500), 3_999])
    dense = found["a test series by epoch"]
    assert (dense["sampling"]["by"], dense["epochs"]) == ("epoch", [0, 5, 10, 15, 19])
    unstepped = found["points without steps, series of two lengths"]
    assert "in the order of time" in unstepped["warnings"][0]


def test_the_running_run_is_brought_up_to_date(outside: Outside, store: Path, client: TestClient) -> None:
    """By the next backfill, with the epochs that came since and its end; nothing else is published again."""
    adopt_all()
    running = read_all(outside, client)["still running"]
    assert (running["status"], running["progress"]["epochs_done"]) == ("partial", 5)
    assert outside.runs.read_run(running["id"]).status is RunStatus.RUNNING
    with closing(sqlite3.connect(store)) as database, database:
        point = ("loss", 0.5, 1_710_000_009_000, RUNNING, 5, False)
        database.execute(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?,?,?,?,?,?)", point
        )
        database.execute("UPDATE latest_metrics SET value = 0.5, step = 5 WHERE run_uuid = ?", (RUNNING,))
        database.execute(
            "UPDATE runs SET status = 'FINISHED', end_time = start_time + 9500 WHERE run_uuid = ?", (RUNNING,)
        )
    assert run_now().published == 1
    ended = read_all(outside, client)["still running"]
    assert (ended["status"], ended["progress"], list_curves(ended)) == ("completed", None, {"loss.train": (0, 5, 6)})
    assert outside.runs.read_run(running["id"]).status is RunStatus.COMPLETED
