"""The train flow with ``--tracker``: to MLflow by the real trainer, and back from it to the same published history."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.ingest import ingest
from flows.train import train
from switchyard.clients.connect import Outside
from switchyard.core.errors import BadSetup
from switchyard.core.ports import ANY
from switchyard.core.runs.rows import RunStatus
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.flows.mlflow_world import read_published, serve_store, to_folder

pytestmark = pytest.mark.usefixtures("prefect_server")

TINY = {"synthetic_buyers": 60, "synthetic_products": 40, "synthetic_interactions": 1_000, "batch_size": 64}
TINY |= {"embedding_dim": 8, "top_k": 10, "epochs": 3}


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowEmulator]:
    """An empty server at MLFLOW_TRACKING_URI."""
    with serve_store(tmp_path / "mlflow.db", []) as (emulator, url):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield emulator


def charted(history: dict[str, Any]) -> dict[str, Any]:
    """What a file and MLflow both say, as readers get it."""
    return {name: history[name] for name in ("epochs", "loss", "gradient", "final_metrics", "non_finite", "status")}


def test_without_a_server_nothing_is_started(scripted: Outside) -> None:
    """Told before there is a row or a job."""
    with pytest.raises(BadSetup, match=r"MLFLOW_TRACKING_URI is not set\. A training"):
        train(tracker="mlflow")
    assert scripted.runs.list_runs(limit=10) == []


@pytest.mark.slow
def test_with_both_file_and_mlflow_publish_the_same(outside: Outside, mlflow: MlflowEmulator) -> None:
    """From the file, and again from MLflow after the file is gone: the same epochs, values and histograms."""
    done = train(tracker="both", experiment="two towers", poll_interval_s=0.05, **TINY)
    id_ = done.quick_test_id
    from_file = read_published(outside, id_)
    assert from_file["source"] == "file"
    row = outside.runs.read_run(id_)
    folder = to_folder(outside, id_)
    info = msgspec.json.decode(outside.objects(folder).read(f"{folder}/mlflow_info.json")[0])
    assert (row.mlflow_run_id, info["tracking_uri"]) == (info["run_id"], os.environ["MLFLOW_TRACKING_URI"])
    histograms = [outside.histories.read_histogram(id_, kind, "query") for kind in ("weights", "gradients")]
    outside.objects(folder).delete(f"{folder}/training_metrics.json", if_generation=ANY)
    ingest(quick_test_id=id_, force=True)
    from_mlflow = read_published(outside, id_)
    assert (from_mlflow["source"], from_mlflow["mlflow_run_id"]) == ("mlflow", info["run_id"])
    assert charted(from_mlflow) == charted(from_file)
    assert [outside.histories.read_histogram(id_, kind, "query") for kind in ("weights", "gradients")] == histograms
    assert mlflow.faults.count("runs/create") == 1


@pytest.mark.slow
def test_the_command_line_trains_with_mlflow_alone(outside: Outside, mlflow: MlflowEmulator) -> None:
    """`python -m flows train --tracker mlflow`: completed, published from MLflow, without a metrics file."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    command = [sys.executable, "-m", "flows", "train", "--tracker", "mlflow", "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    id_ = result["quick_test_id"]
    assert outside.runs.read_run(id_).status is RunStatus.COMPLETED
    published = read_published(outside, id_)
    assert (published["source"], published["epochs"], published["status"]) == ("mlflow", [0, 2], "completed")
    assert "test_recall_at_10" in published["final_metrics"]
    folder = to_folder(outside, id_)
    there = {uri.removeprefix(f"{folder}/").split("/")[0] for uri in outside.objects(folder).list(f"{folder}/")}
    assert there == {"ended.json", "mlflow_info.json", "model", "embeddings"}
    assert mlflow.faults.count("runs/create") == 1
