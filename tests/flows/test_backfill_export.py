"""The backfill flow from an export: what is left of MLflow when MLflow is gone."""

from pathlib import Path

import pytest

from flows.answers.backfill import BackfillFailed
from flows.backfill import backfill
from flows.verify import verify
from switchyard.clients.connect import Outside
from switchyard.core.history.digest import to_digests
from switchyard.core.mlflow.mapping import from_points
from tests.clients.mlflow.export.exports import export_to_folder
from tests.core.mlflow.factories import make_run, make_series
from tests.flows.mlflow_world import add_row, make_sqlite_store

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.mark.parametrize("full", [False, True])
def test_runs_are_published_from_an_export_when_mlflow_is_gone(outside: Outside, tmp_path: Path, *, full: bool) -> None:
    """Runs that a row knows, and runs that none does: the same as from MLflow, and verify finds them safe."""
    runs = [
        make_run({"loss": make_series([1 / (2 + n + i) for i in range(6)])}, epochs=6, run_id=name * 32, name=name)
        for n, name in enumerate("abc")
    ]
    store = tmp_path / "mlflow.db"
    export_uri = export_to_folder(make_sqlite_store(store, runs), tmp_path / "export")
    store.unlink()
    add_row(outside, runs[0].info.run_id)
    result = backfill(export_uri=export_uri, adopt=True, full=full)
    assert (result.adopted, result.published, result.failed) == (2, 3, {})
    expected = {run.info.run_id: to_digests(from_points(run)) for run in runs}
    rows = outside.ledger.list_backfill()
    assert {row.mlflow_run_id: row.charted_digest for row in rows} == {
        run_id: digests.charted for run_id, digests in expected.items()
    }
    assert {row.full_digest for row in rows} == ({found.full for found in expected.values()} if full else {None})
    assert verify(export_uri=export_uri, require_safe=True).verified == 3


def test_a_folder_without_an_export_is_told_on_each_line(outside: Outside, tmp_path: Path) -> None:
    """Nothing is published, and the command can be given again with the right one."""
    row = add_row(outside, "a" * 32)
    with pytest.raises(BackfillFailed) as raised:
        backfill(export_uri=(tmp_path / "nothing").as_uri())
    assert "name the folder that an export was written to" in raised.value.result.failed[row]
