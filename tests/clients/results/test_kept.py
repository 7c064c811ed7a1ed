"""What is kept of a run compares equal to MLflow, on every database and every table of runs."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import Sampling
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.verify.findings import State
from switchyard.services.verify import give_up_rows, verify_rows
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.clients.results.places import NOW, Place
from tests.core.mlflow.factories import INF, NAN, make_points, make_run

RUN_ID = "a" * 32
RUN = make_run(
    {
        "loss": make_points((0, 1e-7), (1, INF), (2, -0.0)),
        "val_loss": make_points((0, 12345.678), (1, NAN), (2, 5e-324)),
    },
    run_id=RUN_ID,
    params={"optimizer": "adagrad", "note": "nul\0here, \\u0000 and Übung 训练 🚀", "long": "9007199254740993.10"},
)  # fmt: skip


def publish(place: Place, run: RawRun) -> int:
    id_ = place.add_run(status="completed")
    place.sql(f"UPDATE {place.runs_table} SET mlflow_run_id = :run WHERE id = :id", run=run.info.run_id, id=id_)
    found = to_publication(
        from_points(run), quick_test_id=id_, source="mlflow", sampling=Sampling(interval=1), mlflow_run_id=RUN_ID
    )
    place.histories.publish(found, now=NOW)
    return id_


@pytest.fixture
def outside(place: Place, tmp_path: Path) -> Outside:
    """The place, and an MLflow store of RUN."""
    store = make_sqlite(tmp_path / "mlflow.db")
    with closing(sqlite3.connect(store)) as connection, connection:
        add_runs(connection, [RUN])
    return Outside(
        read_settings(
            {
                "STATE_DIR": str(tmp_path / "state"),
                "RESULTS_URL": place.url,
                "RESULTS_TABLE": place.table,
                "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{store}",
            }
        )
    )


def test_every_kind_of_column_keeps_the_same_values(place: Place, outside: Outside) -> None:
    """jsonb writes numbers and keys again, and has no NUL: that is no difference."""
    id_ = publish(place, RUN)
    (run,) = verify_rows(outside, outside.ledger.list_backfill(), whole=True)
    assert (run.quick_test_id, run.differences, run.state) == (id_, [], State.VERIFIED)
    assert run.compared == ["row", "history", "digests", "histograms", "series", "values"]


def test_a_value_changed_in_any_kind_of_column_is_named(place: Place, outside: Outside) -> None:
    """A change of its last bit is enough."""
    id_ = publish(place, RUN)
    (kept,) = place.histories.read_kept([id_])
    assert kept.history_text is not None
    history = msgspec.json.decode(kept.history_text)
    history["gradient"]["query"][1] = history["gradient"]["query"][1] * (1 + 2**-52)
    place.set_history(id_, msgspec.json.encode(history).decode())
    (run,) = verify_rows(outside, outside.ledger.list_backfill(), whole=True)
    assert [(found.place, found.key, found.epoch) for found in run.differences] == [("history", "query_weight_norm", 1)]


def test_a_batch_that_is_given_up_leaves_its_reason_on_each_line(place: Place, outside: Outside) -> None:
    """A second call writes the same."""
    rows = [BackfillRow(id=id_, status="completed", mlflow_run_id=f"run{id_}") for id_ in (1, 2)]
    for _ in range(2):
        lines = give_up_rows(outside, rows, "the database went away")
    assert [(line.quick_test_id, line.state) for line in lines] == [(1, State.UNREAD), (2, State.UNREAD)]
    ledger = place.ledger.read_ledger("verify")
    assert [(line.quick_test_id, line.state) for line in ledger] == [(1, "unread"), (2, "unread")]
    assert all("the database went away" in line.error for line in ledger)
