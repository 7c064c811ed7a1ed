"""Which training_metrics.json a backfill replaces: its own of the same MLflow run, and no one else's."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.core.errors import StaleWrite
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import RunIdentity
from switchyard.core.mlflow.mapping import from_points
from switchyard.services.backfill_files import RunFile, to_file, write_file
from tests.core.mlflow.factories import make_run, make_series

RUN = "a" * 32


def make_file(folder: Path, values: list[float], *, identity: RunIdentity | None = None, **info: Any) -> RunFile:
    """The file of a run with this loss."""
    record = from_points(make_run({"loss": make_series(values)}, epochs=len(values), run_id=RUN, **info))
    if identity is not None:
        record = msgspec.structs.replace(record, run=identity)
    run_id = info.get("run_id", RUN)
    return to_file(record, quick_test_id=1, mlflow_run_id=run_id, name="a run", folder=folder.as_uri())


def read_losses(folder: Path) -> list[Any]:
    data = (folder / "training_metrics.json").read_bytes()
    return list(read_record(data, where="file").loss["loss"])


@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_a_file_of_the_same_mlflow_run_is_replaced_when_the_run_has_changed(tmp_path: Path, status: str) -> None:
    """Whether it has ended or not, and also where its state went back; a second write does nothing."""
    outside = Outside(read_settings({"STATE_DIR": str(tmp_path)}))
    write_file(outside, make_file(tmp_path, [3.0, 2.0]))
    for _ in range(2):
        write_file(outside, make_file(tmp_path, [3.0, 2.0, 1.5], status=status))
        assert read_losses(tmp_path) == [3.0, 2.0, 1.5]


@pytest.mark.parametrize(
    "identity",
    [
        RunIdentity(quick_test_id=1, key="mlflow:" + "b" * 32, attempt=0, restart=0),
        RunIdentity(quick_test_id=1, key="switchyard-1-a1", attempt=1, restart=0),
    ],
    ids=["of another MLflow run", "of its trainer"],
)
def test_any_other_file_is_left_as_it_is(tmp_path: Path, identity: RunIdentity) -> None:
    """The run fails alone, and the file is named."""
    outside = Outside(read_settings({"STATE_DIR": str(tmp_path)}))
    write_file(outside, make_file(tmp_path, [3.0, 2.0], identity=identity))
    with pytest.raises(StaleWrite, match="it is left as it is"):
        write_file(outside, make_file(tmp_path, [3.0, 2.0, 1.5]))
    assert read_losses(tmp_path) == [3.0, 2.0]


def test_a_file_that_a_trainer_wrote_is_left_when_its_logged_run_has_changed(tmp_path: Path) -> None:
    """Both have the trainer's key: who wrote the file is not known, so no one's is lost."""
    outside = Outside(read_settings({"STATE_DIR": str(tmp_path)}))
    identity = RunIdentity(quick_test_id=1, key="switchyard-1-a1", attempt=1, restart=0)
    write_file(outside, make_file(tmp_path, [3.0, 2.0], identity=identity))
    with pytest.raises(StaleWrite, match="it is left as it is"):
        write_file(outside, make_file(tmp_path, [3.0, 2.0, 1.5], identity=identity))
