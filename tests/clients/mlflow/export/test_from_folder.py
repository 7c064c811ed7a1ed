"""An export of a folder of MLflow's, in the layout of a database's: whatever reads that reads this."""

from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.export.from_tracking import Answers, export_answers
from switchyard.clients.mlflow.export.parts import read_rows
from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.file_store.details import FolderDetails
from switchyard.clients.mlflow.file_store.registry import FolderSource
from switchyard.clients.mlflow.file_store.tracking import FolderTracking
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.settings import read_settings
from switchyard.core.errors import TryAgain
from switchyard.core.mlflow import export_batches
from switchyard.core.mlflow.export import Export
from switchyard.core.mlflow.raw_run import RawRun, to_source_digest
from switchyard.core.ports import Tracking
from tests.clients.mlflow.export.answering import RUNS
from tests.clients.mlflow.folders import to_yaml, write_folder

A, D = "a" * 32, "d" * 32
OBJECTS = FileObjects()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Runs of every kind, with data sets, logged models, traces, tags and a registry."""
    root = tmp_path / "mlruns"
    write_folder(root.as_uri(), RUNS)
    files: dict[str, str | dict[str, Any]] = {
        "4/tags/team": "über",
        "4/datasets/1/meta.yaml": {
            "name": "sales",
            "digest": "d1",
            "source": "s",
            "source_type": "local",
            "schema": "x",
        },
        "4/datasets/2/meta.yaml": {"name": "unused", "digest": "d2", "source": "s", "source_type": "local"},
        f"4/{A}/inputs/i/meta.yaml": {"source_type": "DATASET", "source_id": "1", "tags": {"mlflow.data.context": "t"}},
        f"4/{A}/inputs/j/meta.yaml": {"source_type": "MODEL", "source_id": "m-1", "tags": {}},
        f"4/{A}/outputs/m-1/meta.yaml": {"destination_id": "m-1", "step": 3, "tags": {}},
        "4/models/m-1/meta.yaml": {
            "model_id": "m-1",
            "name": "ünï",
            "status": 2,
            "source_run_id": A,
            "model_type": None,
        },
        "4/models/m-1/params/p": "2",
        "4/models/m-1/tags/t": "1",
        "4/models/m-1/metrics/loss": f"1690000001500 9.0 1 {A} holdout d\n1690000001500 9.0 1 {D}\n",
        "4/models/m-2/meta.yaml": {"model_id": "m-2", "lifecycle_stage": "deleted"},
        "4/models/m-3/meta.yaml": "",
        "4/traces/t-1/trace_info.yaml": "a: b",
        ".trash/7/traces/t-2/trace_info.yaml": "a: b",
        "models/shop/meta.yaml": {"name": "shop", "creation_timestamp": 1, "last_updated_timestamp": 2},
        "models/shop/aliases/champion": "1",
        "models/shop/version-1/meta.yaml": {
            "name": "shop",
            "version": 1,
            "source": "s3://b/1",
            "current_stage": "None",
        },
        "models/prompt/meta.yaml": {"name": "prompt", "creation_timestamp": 1},
        "models/prompt/tags/mlflow.prompt.is_prompt": "true",
        "models/odd/meta.yaml": "name: [",
    }
    for name, found in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(found.encode() if isinstance(found, str) else to_yaml(found))
    return root


def export(root: Path) -> Export:
    store = Outside(read_settings({"MLFLOW_TRACKING_URI": str(root)})).open_answers()
    return export_answers(store, to_uri(root), OBJECTS)


def to_uri(root: Path) -> str:
    return (root.parent / "export").as_uri()


def read_table(found: Export, root: Path, name: str) -> list[dict[str, Any]]:
    table = found.table(name)
    rows = [row for part in table.parts for row in read_rows(OBJECTS.read(f"{to_uri(root)}/{part.name}")[0], part.name)]
    return [dict(zip(table.columns, row, strict=True)) for row in rows]


def digests(tracking: Tracking) -> dict[str, str]:
    found = list(tracking.read_runs([run.run_id for run in tracking.list_runs()]))
    return {run.info.run_id: to_source_digest(run) for run in found if isinstance(run, RawRun)}


def test_export_of_a_folder_says_what_the_folder_says(root: Path) -> None:
    """Run by run to the last bit, deleted ones too; and the rest row by row."""
    found = export(root)
    folder = Outside(read_settings({"MLFLOW_TRACKING_URI": str(root)})).tracking
    assert digests(open_export(to_uri(root), OBJECTS)) == digests(folder)
    assert len(digests(folder)) == len(RUNS)
    assert {row["name"] for row in read_table(found, root, "datasets")} == {"sales"}
    inputs = {(row["source_type"], row["destination_type"], row["step"]) for row in read_table(found, root, "inputs")}
    assert inputs == {
        ("DATASET", "RUN", 0),
        ("RUN_INPUT", "MODEL_INPUT", 0),
        ("RUN_OUTPUT", "MODEL_OUTPUT", 3),
    }
    assert [row["value"] for row in read_table(found, root, "input_tags")] == ["t"]
    assert [(row["key"], row["value"]) for row in read_table(found, root, "experiment_tags")] == [("team", "über")]
    (model,) = read_table(found, root, "logged_models")
    assert (model["model_id"], model["name"], model["status"], model["source_run_id"]) == ("m-1", "ünï", 2, A)
    points = {(row["run_id"], row["dataset_name"]) for row in read_table(found, root, "logged_model_metrics")}
    assert points == {(A, "holdout"), (D, None)}
    assert [row["name"] for row in read_table(found, root, "registered_models")] == ["prompt", "shop"]
    assert [row["source"] for row in read_table(found, root, "model_versions")] == ["s3://b/1"]


def test_export_of_a_folder_names_what_it_does_not_keep(root: Path) -> None:
    """Numbers and names; a damaged run or model is missing until it is mended."""
    (root / "4" / A / "metrics" / "loss").write_bytes(b"5 1.5 0\n6 1.2")
    found = export(root)
    assert {(missing.kind, missing.id) for missing in found.missing} == {("run", A), ("model", "odd")}
    assert any("line 2: it must end with a line break" in missing.reason for missing in found.missing)
    assert found.not_kept_rows == {"trace_info": 2, "logged_models": 2}
    assert "2 traces, and their spans and assessments" in found.not_kept
    assert "the logged model m-2: it is deleted" in found.not_kept
    assert any(said.startswith("the logged model m-3: ") and "it is empty" in said for said in found.not_kept)
    (root / "4" / A / "metrics" / "loss").write_bytes(b"5 1.5 0\n6 1.25 1\n")
    assert {missing.id for missing in export(root).missing} == {"odd"}
    assert len(digests(open_export(to_uri(root), OBJECTS))) == len(RUNS)


class Noted(FileObjects):
    """Files that note of which runs a metric is read, and whose disk is full from one write on."""

    def __init__(self, room: int = 1_000) -> None:
        self.runs: set[str] = set()
        self._room = room

    def read(self, uri: str, *, max_bytes: int | None = None) -> tuple[bytes, int]:
        if "/mlruns/" in uri and "/metrics/" in uri and "/models/" not in uri:
            self.runs.add(uri.split("/metrics/")[0].rpartition("/")[2])
        return super().read(uri, max_bytes=max_bytes)

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        if self._room == 0:
            raise TryAgain(f"could not write {uri}: the disk is full: make room, then try again; nothing was changed")
        self._room -= 1
        return super().write(uri, data, if_generation=if_generation)


def export_noting(root: Path, room: int = 1_000) -> set[str]:
    """Exports; returns the runs of which a metric was read."""
    noted = Noted(room)
    tracking = FolderTracking(root.as_uri(), noted)
    export_answers(Answers(tracking, FolderDetails(tracking), FolderSource(root.as_uri(), noted)), to_uri(root), noted)
    return noted.runs


def count_batches(root: Path) -> int:
    return len(OBJECTS.list(f"{to_uri(root)}/batches/"))


def break_off(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that ended after its second batch of two runs."""
    monkeypatch.setattr(export_batches, "RUNS", 2)
    for room in range(1, 100):
        with pytest.raises(TryAgain, match="the disk is full"):
            export_noting(root, room)
        if count_batches(root) == 2:
            return
    raise AssertionError("no export ended after its second batch")


def test_export_of_a_folder_that_ended_goes_on_where_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of a run is read again whose batch was written; what is exported is all there is."""
    break_off(root, monkeypatch)
    assert export_noting(root) == {"e" * 32}
    folder = Outside(read_settings({"MLFLOW_TRACKING_URI": str(root)})).tracking
    assert digests(open_export(to_uri(root), OBJECTS)) == digests(folder)


def test_run_of_a_folder_that_changed_since_its_batch_is_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier point, too, which no summary of the run says; the other batch stays."""
    break_off(root, monkeypatch)
    (loss,) = root.glob(f"4/{A}/metrics/loss")
    first, *others = loss.read_text().splitlines(keepends=True)
    time, _, step = first.split()
    loss.write_text("".join([f"{time} 77.5 {step}\n", *others]))
    read = export_noting(root)
    assert A in read
    assert D not in read
    kept = next(run for run in open_export(to_uri(root), OBJECTS).read_runs([A]) if isinstance(run, RawRun))
    assert kept.metrics["loss"].values[0] == 77.5
