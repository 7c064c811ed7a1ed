"""Runs of any framework, from a store to the record: every curve, every value, every param."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from switchyard.clients.mlflow.sqlite import SqliteTracking
from switchyard.core.backfill.mapped import to_record
from switchyard.core.errors import BadRecord
from switchyard.core.history.publication import Versions
from switchyard.core.metrics.record import MetricsRecord
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.raw_run import RawRun
from tests.clients.mlflow.any_store import METRICS, make_runs
from tests.clients.mlflow.stores import add_runs, make_sqlite

STEPS = {
    "steps of batches": {"loss.val_loss": (99, 3_999, 40)},
    "batches and validation": {"loss.loss": (0, 9_999, 10_000), "val_loss": (249, 9_999, 40)},
    "every tenth step": {
        "loss.loss": (10, 1_200, 120),
        "loss.val_loss": (10, 1_200, 120),
        "metrics.learning_rate": (10, 1_200, 120),
    },
    "other names": {
        "loss.loss": (0, 24, 25),
        "loss.val_loss": (0, 24, 25),
        "metrics.train_acc": (0, 24, 25),
        "metrics.val_acc": (0, 24, 25),
    },
    "slashes": {"loss.loss": (0, 24, 25), "loss.val_loss": (0, 24, 25), "metrics.eval/mAP_50": (0, 24, 25)},
    "values alone": {},
    "no steps": {"loss.loss": (0, 29, 30), "val_loss": (0, 5, 6)},
    "a search": {},
    "a trial": {},
    "running": {"loss.loss": (0, 4, 5)},
    "params alone": {},
    "a test curve": {"loss.loss": (0, 19, 20), "metrics.test_accuracy": (0, 19, 20)},
    "hostile names": {
        "loss.loss": (0, 2, 3),
        **{f"metrics.{key}": (0, 2, 3) for key in ("__proto__", "x" * 240, "a\tb", "Loss", "<b>")},
    },
}
"""Of each run's curves: first step, last step, points. One on steps of its own is without a section."""

FINAL = {
    "values alone": {"accuracy": 0.91, "rmse": 3.2},
    "a search": {"best_rmse": 2.9},
    "a trial": {"rmse": 2.9},
    "a test curve": {"test_accuracy": METRICS["a test curve"]["test_accuracy"].values[-1]},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RawRun]:
    """The runs as they are read, but for histograms, by name."""
    path = make_sqlite(tmp_path_factory.mktemp("any") / "mlflow.db")
    runs = make_runs()
    with closing(sqlite3.connect(path)) as database, database:
        add_runs(database, list(runs.values()))
    with closing(SqliteTracking(Path(path))) as tracking:
        read = list(tracking.read_runs([run.info.run_id for run in runs.values()], keys=SCALARS))
    return {run.info.name: run for run in read if isinstance(run, RawRun)}


def list_curves(record: MetricsRecord) -> dict[str, tuple[int, int, int]]:
    steps = record.epochs
    curves = {
        f"{section}.{name}": (steps[0], steps[-1], sum(value is not None for value in values))
        for section in ("loss", "gradient", "metrics")
        for name, values in getattr(record, section).items()
    }
    return curves | {
        name: (other.steps[0], other.steps[-1], len(other.values)) for name, other in record.other_series.items()
    }


@pytest.mark.parametrize("name", STEPS)
def test_each_run_has_all_of_its_curves(found: dict[str, RawRun], name: str) -> None:
    """Each once, with every point that was logged; and its last values, and its params."""
    record = to_record(found[name], Versions())
    assert list_curves(record) == STEPS[name]
    assert record.final_metrics == FINAL.get(name, {})
    assert record.params == found[name].params
    assert record.available
    assert record.status == ("partial" if name == "running" else "completed")


def test_a_run_without_a_status_is_refused_alone(found: dict[str, RawRun]) -> None:
    """It is read, and named; the others are mapped."""
    assert found.keys() == METRICS.keys()
    with pytest.raises(BadRecord, match="its row in MLflow has no status"):
        to_record(found["no status"], Versions())
    assert STEPS.keys() == METRICS.keys() - {"no status"}
