"""Models that no run of ours left: of a folder, of MLflow's registry, of an MLflow run; each a version once."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.mlflow.registry_sources import DatabaseSource
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.results.open import ResultsPorts
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.errors import BadRecord, BadRequest, NotFound, StaleWrite
from switchyard.core.mlflow.contents import LoggedModel
from switchyard.core.registry.stages import Stage
from switchyard.core.runs.rows import RunStatus
from switchyard.services.registering import check_files
from switchyard.services.registering_elsewhere import Ports, register_first_seen, register_source
from tests.clients.mlflow.stores import add_runs
from tests.clients.results.places import NOW
from tests.core.mlflow.factories import make_run
from tests.predicting import write_model
from tests.services.import_world import add_model, add_version, files_of, make_store, open_ours, to_importing

RUN = "a" * 32
BARE = "b" * 32


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[ResultsPorts]:
    made = open_ours(tmp_path)
    yield made
    made.close()


@pytest.fixture
def ports(ours: ResultsPorts, tmp_path: Path) -> Ports:
    """An MLflow with the model `tower`, and a run that has logged one; another run has no place for artifacts."""
    path = make_store(tmp_path, ("two",))
    with sqlite3.connect(path) as connection:
        add_model(connection, "tower", aliases={"canary": 2})
        for number, stage in ((1, "Production"), (2, "None")):
            add_version(
                connection,
                "tower",
                number,
                stage,
                source=write_model(files_of(tmp_path, "tower", number), seed=number).as_uri(),
            )
        artifacts = tmp_path / "mlruns" / RUN / "artifacts"
        write_model(artifacts / "model", seed=7)
        add_runs(connection, [make_run(run_id=RUN, artifact_uri=str(artifacts)), make_run(run_id=BARE)])
    connection.close()
    importing = replace(to_importing(ours, tmp_path), runs=ours.runs)
    store = f"sqlite:///{path}"
    return Ports(importing, lambda: DatabaseSource(store), lambda: open_store(store))


def test_a_run_that_is_served_is_a_version_once_and_holds_data_alone(ports: Ports, tmp_path: Path) -> None:
    """By the path of its model; a file that may hold a program is refused, and nothing is recorded."""
    first = register_first_seen(ports, RUN, "model", "served")
    assert (first.version, first.source_key) == (1, f"mlflow-run:{RUN}/model")
    assert register_first_seen(ports, RUN, "model", "served") == first
    (tmp_path / "mlruns" / RUN / "artifacts" / "pickled").mkdir()
    (tmp_path / "mlruns" / RUN / "artifacts" / "pickled" / "xgb_model.pkl").write_bytes(b"x")
    with pytest.raises(BadRecord, match=r"xgb_model.pkl' may hold a program"):
        register_first_seen(ports, RUN, "pickled", "served")
    assert len(ports.importing.models.list_versions("served")) == 1


def test_a_model_that_mlflow_3_has_logged_is_found_by_its_runs_name(ports: Ports, tmp_path: Path) -> None:
    """Its files are not among the run's artifacts; those of another run or name are not taken."""
    place = write_model(tmp_path / "mlruns" / "models" / "m-1", seed=9)
    models = [
        LoggedModel(model_id="m-0", experiment_id="0", name="fresh", run_id=BARE, artifact_uri="file:///nowhere"),
        LoggedModel(model_id="m-1", experiment_id="0", name="fresh", run_id=RUN, artifact_uri=place.as_uri()),
    ]

    def open_tracking() -> Any:
        store: Any = ports.open_tracking()
        store.list_logged_models = lambda: iter(models)
        return store

    made = register_source(replace(ports, open_tracking=open_tracking), f"runs:/{RUN}/fresh", "shop")
    assert (made.is_new, made.version.source_key) == (True, f"mlflow-run:{RUN}/fresh")
    with pytest.raises(NotFound):
        register_source(replace(ports, open_tracking=open_tracking), f"runs:/{RUN}/stale", "shop")


def test_a_folder_is_a_version_once(ports: Ports, ours: ResultsPorts, tmp_path: Path) -> None:
    """Its files stay where they are, pending and in no stage; changed files are refused, and nothing is written."""
    folder = write_model(tmp_path / "an export")
    made = register_source(ports, str(folder), "shop", by="ann", description="from a notebook")
    assert (made.is_new, made.version.version, made.version.stage) == (True, 1, Stage.NONE)
    assert (made.version.source_uri, made.version.created_by) == (folder.as_uri(), "ann")
    again = register_source(ports, folder.as_uri() + "/", "shop")
    assert (again.is_new, again.version.version) == (False, 1)
    (folder / "embeddings" / "query.parquet").write_bytes(b"other")
    with pytest.raises(StaleWrite, match="is version 1 of model shop already"):
        register_source(ports, str(folder), "shop")
    assert [version.version for version in ours.models.list_versions("shop")] == [1]


@pytest.mark.parametrize(
    ("text", "number"), [("models:/tower/Production", 1), ("models:/tower/2", 2), ("models:/tower@canary", 2)]
)
def test_a_version_of_mlflow_is_copied(
    ports: Ports, ours: ResultsPorts, tmp_path: Path, text: str, number: int
) -> None:
    """Once: MLflow and its files may go, and the version is whole; by its number it is found again."""
    made = register_source(ports, text, "shop")
    assert made.is_new
    assert made.version.source_key == f"mlflow:tower/{number}"
    assert not register_source(ports, f"models:/tower/{number}", "shop").is_new
    for path in sorted(files_of(tmp_path, "tower", number).rglob("*.parquet")):
        path.unlink()
    assert check_files(ours.models, ports.importing.open_objects, "shop", 1).digest == made.version.digest


def test_a_run_of_mlflow_is_copied_and_linked_to_its_row(ports: Ports, ours: ResultsPorts) -> None:
    """Its folder `model`, unless another is named; the lineage is the row that names the run."""
    (row,) = ours.runs.adopt_runs([AdoptedRun(mlflow_run_id=RUN, status=RunStatus.COMPLETED)], now=NOW).values()
    made = register_source(ports, f"runs:/{RUN}", "shop")
    assert made.is_new
    assert made.version.lineage.quick_test_id == row
    assert not register_source(ports, f"runs:/{RUN}/model", "shop").is_new
    assert made.version.flavor == "two-tower"
    assert check_files(ours.models, ports.importing.open_objects, "shop", 1).digest == made.version.digest


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("s3://bucket/model", BadRequest, "a model is registered from a folder"),
        (" ", BadRequest, "a model is registered from a folder"),
        ("models:/nobody/3", NotFound, "neither the results database nor MLflow has a model nobody"),
        ("models:/tower/9", NotFound, "MLflow's model tower has no version 9"),
        ("models:/two/Production", BadRecord, r"several versions there \(1, 2\)"),
        (f"runs:/{'c' * 32}/model", NotFound, "has no run c"),
        (f"runs:/{BARE}/model", NotFound, "names no place for its artifacts"),
        (f"runs:/{RUN}/nothing", NotFound, "nothing"),
        (f"runs:/{RUN}/../other", BadRequest, "a model is registered from a folder"),
        ("/nowhere/at/all", NotFound, "there is no file in any of them"),
    ],
)
def test_what_is_no_model_is_refused_and_writes_nothing(
    ports: Ports, ours: ResultsPorts, text: str, error: type[Exception], said: str
) -> None:
    """Each in words that say what was looked for."""
    with pytest.raises(error, match=said):
        register_source(ports, text, "shop")
    assert ours.models.list_models() == []
