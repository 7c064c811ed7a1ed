"""Reconcile and the rows that another application completed: published from MLflow too, and never hammered."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.reconcile import ReconcileResult, RepairsFailed, reconcile
from switchyard.clients.connect import Outside
from switchyard.core.metrics.record import RunIdentity
from switchyard.core.metrics.writing import to_json
from tests.clients.results.places import run_sql
from tests.core.metrics.factories import make_record
from tests.core.mlflow.factories import make_run
from tests.flows.mlflow_world import add_row, make_sqlite_store, read_published, to_folder, write_metrics

pytestmark = pytest.mark.usefixtures("prefect_server")

ROWS = 4_000
AT_ONCE = 5


def reconcile_now(**parameters: object) -> ReconcileResult:
    result = reconcile(**parameters)
    assert isinstance(result, ReconcileResult)
    return result


def fail_now(**parameters: object) -> ReconcileResult:
    with pytest.raises(RepairsFailed) as raised:
        reconcile(**parameters)
    return raised.value.result


def add_rows(outside: Outside, count: int) -> None:
    """Completed rows that name MLflow runs, as an application has them after years."""
    run_sql(
        outside.settings.results_url,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
        "INSERT INTO quick_tests (status, mlflow_run_id, gcs_artifacts_path, display_name, mlflow_experiment_name, "
        "parameters, request_key, error, created_at) "
        "SELECT 'completed', printf('%032x', i), :folder || i, '', '', '{}', 'row ' || i, '', '2025-01-01' FROM n",
        count=count,
        folder=to_folder(outside, 0).removesuffix("0"),
    )


def test_rows_of_another_application_are_published_from_mlflow(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completed, with an MLflow run and nothing published; then there is nothing left to look at."""
    runs = [make_run(run_id=f"{number:032x}") for number in range(3)]
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", make_sqlite_store(tmp_path / "mlflow.db", runs))
    rows = [add_row(outside, run.info.run_id, name=run.info.run_id) for run in runs]
    assert reconcile_now().settled == rows[::-1]
    assert [read_published(outside, row)["mlflow_run_id"] for row in rows] == [run.info.run_id for run in runs]
    assert reconcile_now().looked_at == 0


def test_thousands_of_rows_that_cannot_be_read_are_not_hammered(outside: Outside) -> None:
    """No MLflow is named: a few rows a turn are tried, and each backs off.

    A row that has a file, completed after them all, does not wait for them. The error says which setting, and does not
    grow with their number.
    """
    add_rows(outside, ROWS)
    newest = add_row(outside, name="newest")
    record = make_record(3, run=RunIdentity(quick_test_id=newest, key="k", attempt=1, restart=0))
    write_metrics(outside, newest, to_json(record))
    first = fail_now(without_job=AT_ONCE)
    assert first.settled == [newest]
    assert (len(first.failed), first.looked_at, first.left) == (AT_ONCE - 1, AT_ONCE, ROWS - AT_ONCE + 1)
    assert all("set MLFLOW_BACKEND_STORE_URI or MLFLOW_TRACKING_URI" in error for error in first.failed.values())
    lines = [line for line in outside.ledger.read_ledger("repair") if line.state == "failed"]
    assert all(line.next_try_at and line.next_try_at > line.updated_at for line in lines)
    # However long the first turn took: its rows back off still.
    run_sql(outside.settings.results_url, "UPDATE switchyard_ledger SET next_try_at = '2999-01-01'")
    second = fail_now(without_job=AT_ONCE)
    assert not set(first.failed) & set(second.failed)
    lines = [line for line in outside.ledger.read_ledger("repair") if line.state == "failed"]
    assert {line.quick_test_id for line in lines} == {*first.failed, *second.failed}


def test_a_row_that_fails_again_waits_twice_as_long(outside: Outside) -> None:
    """A minute, two, four, and a day at most: a team that never names an MLflow has one look a row and day."""
    add_rows(outside, 1)
    waits = []
    for _ in range(2):
        before = datetime.now(UTC)
        fail_now()
        (line,) = outside.ledger.read_ledger("repair")
        assert line.next_try_at is not None
        waits.append((line.next_try_at - before) // timedelta(minutes=1))
        run_sql(outside.settings.results_url, "UPDATE switchyard_ledger SET next_try_at = '2025-01-01'")
    assert waits == [1, 2]


def test_message_names_some_of_many_failures() -> None:
    """The ledger has them all."""
    failed = RepairsFailed(ReconcileResult(looked_at=30, failed=dict.fromkeys(range(1, 26), "why")))
    assert str(failed).startswith("25 of 30 runs could not be repaired: quick test 1: why; quick test 2: why; ")
    assert str(failed).endswith("quick test 20: why; and 5 more, see the ledger")
