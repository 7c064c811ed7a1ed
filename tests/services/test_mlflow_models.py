"""Models of MLflow's registry that are served: found, copied once, and held to what they were when first seen."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchyard.clients.mlflow.registry_sources import DatabaseSource
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.results.open import ResultsPorts
from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.predictions.sources import Kind, Source
from switchyard.core.registry.rows import ModelVersion
from switchyard.services.mlflow_models import LOOK_S, MlflowModels
from tests.predicting import write_model
from tests.services.import_world import add_model, add_version, files_of, make_store, open_ours, to_importing

RUN = "f" * 32


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[ResultsPorts]:
    made = open_ours(tmp_path)
    yield made
    made.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two two-tower models of `tower`, the first in Production, and MLflow's own kinds."""
    path = make_store(tmp_path, ("shop", "two"))
    with sqlite3.connect(path) as connection:
        add_model(connection, "tower", aliases={"canary": 2})
        for number, stage in ((1, "Production"), (2, "None")):
            folder = write_model(files_of(tmp_path, "tower", number), seed=number)
            add_version(connection, "tower", number, stage, source=folder.as_uri())
    return path


@pytest.fixture
def mlflow(ours: ResultsPorts, store: Path, tmp_path: Path, clock: Clock) -> MlflowModels:
    return MlflowModels(
        lambda: DatabaseSource(f"sqlite:///{store}"), lambda: to_importing(ours, tmp_path), "served", clock
    )


@pytest.mark.parametrize(
    ("path", "taken"), [("", (RUN, "model")), ("deep/model", (RUN, "deep/model"))], ids=["default", "named"]
)
def test_a_run_of_which_no_model_was_registered_is_taken_by_its_path(
    mlflow: MlflowModels, path: str, taken: tuple[str, str]
) -> None:
    """MODEL_ARTIFACT_PATH, else `model`; without what takes runs, the registry alone counts."""
    source = Source("MODEL_RUN_ID", Kind.RUN_ID, RUN)
    with pytest.raises(NotFound, match="no model in MLflow's registry was made from the run"):
        mlflow.take(source)
    version = mlflow.take(named("models:/tower/1"))
    asked = []

    def take_run(*said: str) -> ModelVersion:
        asked.append(said)
        return version

    mlflow.take_run, mlflow.path = take_run, path
    assert mlflow.take(source) == version
    assert asked == [taken]


def add_runs(store: Path, *runs: tuple[str, str, str, str, int | None]) -> None:
    """Of each its id, name, status, lifecycle and end."""
    with sqlite3.connect(store) as connection:
        connection.execute(
            "INSERT OR IGNORE INTO experiments (experiment_id, name, lifecycle_stage) VALUES (0, 'Default', 'active')"
        )
        for run_id, name, status, lifecycle, end in runs:
            connection.execute(
                "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, start_time, end_time, experiment_id, "
                "artifact_uri) VALUES (?, ?, ?, ?, 1, ?, 0, 'file:///nowhere')",
                (run_id, name, status, lifecycle, end),
            )


def by_name(name: str) -> Source:
    return Source("MODEL_RUN_NAME", Kind.RUN_NAME, name)


def test_a_runs_name_is_its_newest_finished_run(mlflow: MlflowModels, store: Path, clock: Clock) -> None:
    """By when it ended, then by id; chosen once. Where only the tag has the name, that is the name."""
    version, asked = mlflow.take(named("models:/tower/1")), []

    def take_run(run_id: str, path: str) -> ModelVersion:
        asked.append((run_id, path))
        return version

    mlflow.take_run = take_run
    mlflow.open_tracking = lambda: open_store(f"sqlite:///{store}")
    add_runs(
        store,
        ("a1", "ml_xgboost", "FINISHED", "active", 200),
        ("a2", "ml_xgboost", "FINISHED", "active", 200),
        ("a3", "ml_xgboost", "FINISHED", "active", 100),
        ("a4", "ml_xgboost", "FINISHED", "deleted", 900),
        ("a5", "ml_xgboost", "FAILED", "active", 900),
        ("a6", "ml_xgboost", "RUNNING", "active", None),
        ("a7", "another", "FINISHED", "active", 900),
        ("b1", "", "FINISHED", "active", 1),
    )
    with sqlite3.connect(store) as connection:
        connection.execute("INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.runName', 'tagged', 'b1')")
    assert mlflow.take(by_name("ml_xgboost")) == version
    assert mlflow.take(by_name("tagged")) == version
    add_runs(store, ("a9", "ml_xgboost", "FINISHED", "active", 999))
    clock.now = LOOK_S
    mlflow.take(by_name("ml_xgboost"))
    assert [run_id for run_id, _ in asked] == ["a2", "b1", "a2"]
    with pytest.raises(NotFound, match="MLflow has no finished run named 'nightly'"):
        mlflow.take(by_name("nightly"))


def test_a_runs_name_is_also_the_version_that_was_made_from_it(mlflow: MlflowModels, store: Path) -> None:
    """As by its id, where MLflow's registry has one."""
    mlflow.open_tracking = lambda: open_store(f"sqlite:///{store}")
    add_runs(store, ("abc", "nightly", "FINISHED", "active", 1))
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE model_versions SET run_id = 'abc' WHERE name = 'tower' AND version = 2")
    assert mlflow.take(by_name("nightly")).source_key == "mlflow:tower/2"


def named(uri: str) -> Source:
    return Source("MLFLOW_MODEL_URI", Kind.REGISTRY, uri)


def test_stage_alias_and_number_are_found(mlflow: MlflowModels, ours: ResultsPorts) -> None:
    """Each is a version of ours, under MODEL_NAME. MLflow's model gets no name here, so that its stage is followed."""
    first = mlflow.take(named("models:/tower/Production"))
    assert (first.name, first.source_key) == ("served", "mlflow:tower/1")
    assert mlflow.take(named("models:/tower/1")) == first
    assert mlflow.take(named("models:/tower@canary")).source_key == "mlflow:tower/2"
    assert [model.name for model in ours.models.list_models()] == ["served"]
    assert {file.path for file in ours.models.read_files("served", first.version).files} == {
        "embeddings/query.parquet",
        "embeddings/candidate.parquet",
    }


def test_promotion_in_mlflow_is_followed(mlflow: MlflowModels, store: Path, clock: Clock) -> None:
    """After a while: its registry is read whole."""
    assert mlflow.take(named("models:/tower/Production")).source_key == "mlflow:tower/1"
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE model_versions SET current_stage = 'Archived' WHERE name = 'tower' AND version = 1")
        connection.execute(
            "UPDATE model_versions SET current_stage = 'Production' WHERE name = 'tower' AND version = 2"
        )
    assert mlflow.take(named("models:/tower/Production")).source_key == "mlflow:tower/1"
    clock.now = LOOK_S
    assert mlflow.take(named("models:/tower/Production")).source_key == "mlflow:tower/2"


def test_two_in_production_are_not_guessed_at(mlflow: MlflowModels) -> None:
    """MLflow lets that happen."""
    with pytest.raises(BadRecord, match=r"several versions there \(1, 2\); name one: models:/two/<number>"):
        mlflow.take(named("models:/two/Production"))


def test_what_may_be_a_program_is_not_served(mlflow: MlflowModels, ours: ResultsPorts) -> None:
    """It is not made a version either."""
    with pytest.raises(BadRecord, match="may hold a program"):
        mlflow.take(named("models:/shop/Production"))
    assert ours.models.list_models() == []


@pytest.mark.parametrize(
    "source",
    [
        named("models:/nobody/Production"),
        named("models:/tower/Staging"),
        named("models:/tower/9"),
        named("models:/tower@nobody"),
        Source("MODEL_RUN_ID", Kind.RUN_ID, "f" * 32),
    ],
)
def test_what_mlflow_has_not_is_not_found(mlflow: MlflowModels, source: Source) -> None:
    """NotFound is raised, so that the next source is asked."""
    with pytest.raises(NotFound):
        mlflow.take(source)


def test_run_is_the_version_that_was_made_from_it(mlflow: MlflowModels, store: Path) -> None:
    """Where MLflow's registry has one."""
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE model_versions SET run_id = 'abc' WHERE name = 'tower' AND version = 2")
    assert mlflow.take(Source("MODEL_RUN_ID", Kind.RUN_ID, "abc")).source_key == "mlflow:tower/2"
