"""Models that a real MLflow server has, 2.9.2 and a current one: registered here, promoted, served, rolled back.

`make test-mlflow` and `make test-models` build what this needs.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.core.registry.rows import ModelVersion, Rollback
from switchyard.services.importing_files import open_importing
from switchyard.services.registering_elsewhere import Ports, register_source
from tests.clients.mlflow.real_servers import find_environment, serve
from tests.predicting import promote
from tests.root import ROOT
from tests.serving.conftest import OverPlace
from tests.serving.predictions.real.environments import find_python, read_json
from tests.serving.predictions.real.near import near
from tests.serving.predictions.world import World, open_client, replace_settings

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.needs_models, pytest.mark.timeout(900)]


LIBRARIES = ("xgboost", "sklearn", "keras")


@dataclass(frozen=True)
class Logged:
    """A server with two models of two runs, and what the library answers for each."""

    version: str
    library: str
    python: str  # has the library, and no MLflow
    url: str
    said: list[dict[str, Any]]


@pytest.fixture(
    scope="module", params=[(version, each) for version in ("2.9.2", "current") for each in LIBRARIES], ids="-".join
)
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    version, library = request.param
    folder, served = tmp_path_factory.mktemp("server"), find_python("xgboost")
    with serve(version, f"sqlite:///{folder / 'mlflow.db'}", folder, workers=1) as url:
        if library == "keras":
            yield Logged(version, library, sys.executable, url, _log_keras(version, url, folder / "saved"))
        else:
            yield Logged(version, library, served, url, _log(version, library, url, folder, served))


def _log(version: str, library: str, url: str, folder: Path, python: str) -> list[dict[str, Any]]:
    """By that MLflow itself."""
    for package in Path(python).parents[1].glob("lib/python*/site-packages/xgboost*"):
        (folder / "packages").mkdir(exist_ok=True)
        (folder / "packages" / package.name).symlink_to(package)  # XGBoost alone: MLflow has its own numpy
    environ = to_environment(folder / "packages")
    command = [str(find_environment(version) / "python"), _find_script("log_to_server.py"), url, library, "1", "2"]
    said: list[dict[str, Any]] = read_json(
        subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    )
    return said


def _log_keras(version: str, url: str, folder: Path) -> list[dict[str, Any]]:
    """By a current MLflow beside Keras; to 2.9.2 by its own client, in the layout that it saves itself."""
    packages = next(
        find_environment(version).parent.glob("lib/python*/site-packages")
    )  # with 2.9.2 nothing of it is used
    where = str(folder) if version == "2.9.2" else url
    command = [sys.executable, _find_script("log_keras_to_server.py"), where, str(packages), "1", "2"]
    environ = to_environment(ROOT)
    said: list[dict[str, Any]] = read_json(
        subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    )
    if version == "2.9.2":
        command = [str(find_environment(version) / "python"), _find_script("log_folders_to_server.py"), url]
        command += [str(folder / seed) for seed in ("1", "2")]
        runs = read_json(subprocess.run(command, capture_output=True, text=True, check=False))
        said = [{**each, "run": run} for each, run in zip(said, runs, strict=True)]
    return said


def to_environment(path: Path) -> dict[str, str]:
    """Of a program of MLflow's that also finds the packages at `path`; without what a test has told our own client."""
    kept = {name: value for name, value in os.environ.items() if name not in CLIENT_SETTINGS}
    return {**kept, "PYTHONPATH": str(path), "GIT_PYTHON_REFRESH": "quiet"}


def _find_script(name: str) -> str:
    return str(Path(__file__).with_name(name))


@pytest.fixture
def settings(world: World, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a server that may read that MLflow."""
    for name in CLIENT_SETTINGS:  # put back after the test
        monkeypatch.setenv(name, "")
    return {
        "mlflow_tracking_uri": logged.url,
        "artifacts_uri": (world.root / "artifacts").as_uri(),
        "model_loader_python": logged.python,
    }


@pytest.fixture
def ports(world: World, settings: dict[str, Any]) -> Ports:
    outside = OverPlace(world.place)
    outside.settings = replace_settings(outside.settings, **settings)
    return Ports(open_importing(outside), outside.open_registry, lambda: outside.tracking)


def name_pickles(world: World, version: ModelVersion) -> str:
    """What MODEL_PICKLE_DIGESTS must say of a version: MLflow 2 knows no other format for scikit-learn."""
    files = world.place.models.read_files(version.name, version.version).files
    return ",".join(f"sha256:{file.sha256}" for file in files if file.path.endswith(".pkl"))


def same(logged: Logged, found: Any, said: Any) -> bool:
    """To the last bit; of Keras but for the last digits."""
    return near(found, said) if logged.library == "keras" else bool(found == said)


@pytest.mark.parametrize("sources", ["runs", "models"])
def test_models_of_mlflows_are_served_and_rolled_back(
    world: World, logged: Logged, ports: Ports, settings: dict[str, Any], sources: str
) -> None:
    """Each answers what its library itself does."""
    texts = [
        f"runs:/{said['run']}/model" if sources == "runs" else f"models:/churn/{number}"
        for number, said in enumerate(logged.said, start=1)
    ]
    registered = [register_source(ports, text, "shop") for text in texts]
    assert all(made.is_new and made.version.flavor == "mlflow" for made in registered)
    assert not register_source(ports, texts[0], "shop").is_new
    pickles = ",".join(filter(None, (name_pickles(world, made.version) for made in registered)))
    assert bool(pickles) == ((logged.version, logged.library) == ("2.9.2", "sklearn"))
    promote(world.place.models, registered[0].version)
    app = world.application(**settings, model_pickle_digests=pickles)
    first, second = (said["answers"] for said in logged.said)
    with open_client(app) as client:

        def answers(version: ModelVersion) -> list[Any]:
            app.routes.holder.look()
            form = "instances" if logged.library == "keras" else "dataframe_records"
            answer = client.post("/invocations", json={form: logged.said[0]["rows"]})
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"]["version"] == version.version
            return [said["prediction"] for said in answer.json()["predictions"]]

        assert same(logged, answers(registered[0].version), first)
        promote(world.place.models, registered[1].version)
        assert same(logged, answers(registered[1].version), second)
        assert not same(logged, first, second)
        world.place.models.roll_back(Rollback(name="shop", expected=2))
        assert same(logged, answers(registered[0].version), first)


def test_a_pickle_of_mlflow_2_is_not_read_unless_it_is_named(
    world: World, logged: Logged, ports: Ports, settings: dict[str, Any]
) -> None:
    """Of scikit-learn; every other format is served as it is."""
    promote(world.place.models, register_source(ports, f"runs:/{logged.said[0]['run']}/model", "shop").version)
    with open_client(world.application(**settings)) as client:
        health = client.get("/health").json()
    is_pickle = (logged.version, logged.library) == ("2.9.2", "sklearn")
    assert health["ready"] != is_pickle
    assert ("is a pickle, which runs code when it is read, and was not read" in health["why"]) == is_pickle


def test_the_newest_run_of_a_name_is_served(world: World, logged: Logged, settings: dict[str, Any]) -> None:
    """MODEL_RUN_NAME: both runs have that name, and the second one ended later."""
    if (logged.version, logged.library) == ("2.9.2", "sklearn"):
        state = world.application(**settings, model_run_name="ml_sklearn").routes.holder.state
        assert "may hold a program, and no one has judged it" in state.problem
        return
    with open_client(world.application(**settings, model_run_name=f"ml_{logged.library}")) as client:
        answer = client.post("/predict", json={"instances": logged.said[0]["rows"]})
    assert answer.status_code == 200, answer.text
    found = [said["prediction"] for said in answer.json()["predictions"]]
    assert same(logged, found, logged.said[1]["answers"])
    assert answer.json()["model"]["source"] == f"MODEL_RUN_NAME=ml_{logged.library}"
