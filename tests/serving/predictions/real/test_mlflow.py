"""Folders that MLflow itself has written, through registry and server: `make test-models` builds it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.predicting import promote, register_folder
from tests.serving.predictions.real.environments import find_python, run_there
from tests.serving.predictions.world import World, open_client

pytestmark = [pytest.mark.slow, pytest.mark.needs_models]


@dataclass(frozen=True)
class Saved:
    """The folders that MLflow wrote, and what the library, or MLflow's own pyfunc, answered."""

    python: str  # which has no MLflow
    folder: Path
    said: dict[str, Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return _save(tmp_path_factory.mktemp("mlflow"), "log_xgboost.py")


@pytest.fixture(scope="module")
def sklearn(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return _save(tmp_path_factory.mktemp("sklearn"), "log_sklearn.py")


def _save(folder: Path, script: str) -> Saved:
    said = run_there(find_python("mlflow"), Path(__file__).with_name(script), str(folder))
    return Saved(find_python("xgboost"), folder, said)


@pytest.mark.parametrize("form", ["ubj", "json", "xgb", "bare"])
def test_the_server_answers_what_the_library_answers(world: World, saved: Saved, form: str) -> None:
    """In each format of MLflow's, without MLflow; columns have the signature's names and types, else the model's."""
    promote(world.place.models, register_folder(world.place.models, saved.folder / form))
    app = world.application(model_loader_python=saved.python)
    with open_client(app) as client:
        answer = client.post("/invocations", json={"dataframe_split": saved.said["split"]})
        assert answer.status_code == 200, answer.text
        assert [said["prediction"] for said in answer.json()["predictions"]] == saved.said["answers"]
        row = saved.said["rows"][0]
        wrong = client.post("/invocations", json={"dataframe_records": [{**row, "orders": "many", "size": 3}]})
        assert wrong.status_code == 422
        assert "`orders` of instance 0 must be a whole number" in wrong.json()["detail"]
        assert "`size`, which the model does not take" in wrong.json()["detail"]


@pytest.mark.parametrize("name", ["skops", "chances"])
def test_scikit_learn_answers_what_mlflow_itself_answers(world: World, sklearn: Saved, name: str) -> None:
    """Classes, or what the model was logged to answer; texts by the signature's names."""
    promote(world.place.models, register_folder(world.place.models, sklearn.folder / name))
    with open_client(world.application(model_loader_python=sklearn.python)) as client:
        answer = client.post("/invocations", json={"dataframe_split": sklearn.said["split"]})
    assert answer.status_code == 200, answer.text
    assert [said["prediction"] for said in answer.json()["predictions"]] == sklearn.said["answers"][name]


def test_a_folder_with_a_pickle_is_refused_with_the_command_that_converts_it(world: World, sklearn: Saved) -> None:
    """MLflow 2 knows no other format."""
    promote(world.place.models, register_folder(world.place.models, sklearn.folder / "pickle"))
    with open_client(world.application(model_loader_python=sklearn.python)) as client:
        why = client.get("/health").json()["why"]
    assert "model/model.pkl is a pickle, which runs code when it is read, and was not read" in why


def test_a_pickle_that_an_operator_names_answers_all_the_same(world: World, sklearn: Saved) -> None:
    """By its own SHA-256, and in a process of its own."""
    folder = sklearn.folder / "pickle"
    promote(world.place.models, register_folder(world.place.models, folder))
    digest = hashlib.sha256((folder / "model" / "model.pkl").read_bytes()).hexdigest()
    named = world.application(model_loader_python=sklearn.python, model_pickle_digests=f"sha256:{digest}")
    with open_client(named) as client:
        answer = client.post("/invocations", json={"dataframe_split": sklearn.said["split"]})
    assert [said["prediction"] for said in answer.json()["predictions"]] == sklearn.said["answers"]["pickle"]
