"""The flow export from a server alone, and what is published and verified from that when the server is gone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL

from flows.answers.backfill import BackfillFailed
from flows.answers.store import ExportFailed
from flows.answers.verify import VerifyFailed
from flows.backfill import backfill
from flows.export import export
from flows.import_models import import_models
from flows.verify import verify
from switchyard.clients.connect import Outside
from tests.clients.mlflow.export.answering import RUNS, make_store
from tests.clients.mlflow.export.exports import export_to_folder
from tests.emulators.faults import Fault
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread
from tests.flows.mlflow_world import add_row

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def server(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowEmulator]:
    """The server that the settings name."""
    emulator = MlflowEmulator(make_store(tmp_path / "mlflow.db"))
    try:
        with serve_in_thread(emulator.app) as url:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
            yield emulator
    finally:
        emulator.close()


def test_runs_are_published_and_verified_from_what_a_server_told(
    outside: Outside, server: MlflowEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from an export of its database, digest by digest, with the server gone; its models are imported from it."""
    result = export()
    assert (result.alembic_version, result.missing) == ("", [])
    assert any("users" in said or "deleted" in said for said in result.not_kept)
    server.faults.order(Fault(times=10_000, status=503))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    done = backfill(export_uri=result.uri, adopt=True, status="all")
    assert done.failed == {}
    sql_uri = export_to_folder(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "sql")
    for uri in (result.uri, sql_uri):
        found = verify(export_uri=uri, whole=True, require_safe=True, give_up=["artifacts"])
        assert (found.verified, found.differs, found.unread) == (done.published, {}, {})
    imported = import_models(export_uri=result.uri, name=["it's=its"])
    assert (imported.models, imported.versions, imported.failed) == (2, 2, {})


def test_run_that_could_not_be_read_fails_the_flow_and_is_never_safe(
    outside: Outside, server: MlflowEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are exported and published; its row's ledger line says why. The same command brings it."""
    lost = RUNS[1].info.run_id
    row = add_row(outside, lost)
    server.faults.order(Fault(kind="runs/get", target=lost, times=10_000, status=500))
    with pytest.raises(ExportFailed, match=rf"1 runs or models could not be read: run {lost}: .*answered 500"):
        export()
    uri = f"{outside.settings.artifacts_uri}/mlflow-export"
    with pytest.raises(BackfillFailed) as raised:
        backfill(export_uri=uri, adopt=True, status="all")
    assert "could not be read when the export was made" in raised.value.result.failed[row]
    with pytest.raises(VerifyFailed) as unsafe:
        verify(export_uri=uri, require_safe=True)
    assert unsafe.value.result.safe is False
    (line,) = [line for line in outside.ledger.read_ledger("verify") if line.quick_test_id == row]
    assert (line.state, "export again" in line.error) == ("unread", True)
    server.faults.forget()
    assert export().missing == []
    assert backfill(export_uri=uri, adopt=True, status="all").failed == {}
    assert verify(export_uri=uri, require_safe=True, give_up=["artifacts"]).safe is True


def test_deleted_run_that_could_not_be_read_is_never_safe(outside: Outside, server: MlflowEmulator) -> None:
    """Though deleted runs need no row, and an export keeps them: this one does not."""
    lost = RUNS[2].info.run_id
    server.faults.order(Fault(kind="runs/get", target=lost, times=10_000, status=500))
    with pytest.raises(ExportFailed, match=lost):
        export()
    uri = f"{outside.settings.artifacts_uri}/mlflow-export"
    with pytest.raises(BackfillFailed, match=f"MLflow run {lost}: it cannot be read: .*Export again"):
        backfill(export_uri=uri, adopt=True, status="all")
    with pytest.raises(VerifyFailed, match="1 runs of MLflow are known to no row"):
        verify(export_uri=uri, require_safe=True)


def test_command_line_says_what_is_missing_and_ends_with_1(outside: Outside, server: MlflowEmulator) -> None:
    """--json has it all, the words what to do."""
    server.faults.order(Fault(kind="registered-models/get", target="shop", times=10_000, status=400))
    command = [sys.executable, "-m", "flows", "export", "--json"]
    environ = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, done.stderr
    assert "Run the same command again to read these" in done.stderr
    assert "Traceback" not in done.stderr
    assert [missing["id"] for missing in json.loads(done.stdout)["missing"]] == ["shop"]
    server.faults.forget()
    assert msgspec.to_builtins(export())["missing"] == []
