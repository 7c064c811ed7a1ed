"""Shards of a backfill as flow runs of its deployment, on a real Prefect server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from flows.backfill import backfill
from switchyard.clients.connect import Outside
from tests.clients.mlflow.stores import find_fixture, make_sqlite
from tests.flows.polling import wait_for
from tests.root import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("prefect_server")]

SERVE = """
from flows.backfill import backfill
if __name__ == "__main__":
    backfill.serve(name="manual", pause_on_shutdown=False)
"""


def is_deployed() -> bool:
    with get_client(sync_client=True) as client:
        return any(found.name == "manual" for found in client.read_deployments())


@pytest.fixture
def served(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that runs the deployment's flow runs, with this test's settings."""
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{make_sqlite(tmp_path / 'mlflow.db', find_fixture())}")
    script = tmp_path / "serve.py"
    script.write_text(SERVE)
    root = str(ROOT)
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PYTHONPATH": root}
    with (tmp_path / "serve.log").open("w") as log:
        process = subprocess.Popen([sys.executable, str(script)], env=environment, cwd=root, stdout=log, stderr=log)
        try:
            wait_for(is_deployed, deadline_s=120)
            yield
        finally:
            process.terminate()
            process.wait(60)


def test_shards_do_all_of_the_work_between_them(outside: Outside, served: None) -> None:
    """What they did is read from the ledger; each is a flow run of its own."""
    result = backfill(adopt=True, status="all", shards=2)
    assert (result.published, len(result.skipped), result.failed) == (22, 1, {})
    assert len(outside.ledger.read_ledger("backfill")) == 23
    with get_client(sync_client=True) as client:
        names = {flow_run.name for flow_run in client.read_flow_runs()}
    assert {"backfill shard 1 of 2", "backfill shard 2 of 2"} <= names
    assert backfill(adopt=True, status="all", shards=2).published == 0
