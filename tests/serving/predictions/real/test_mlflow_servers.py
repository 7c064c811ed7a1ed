"""Models that a real MLflow server has, 2.9.2 and a current one: registered here, promoted, served, rolled back.

`make test-mlflow` and `make test-models` build what this needs.
"""

import os
import subprocess
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
from tests.serving.conftest import OverPlace
from tests.serving.predictions.real.environments import find_python, read_json
from tests.serving.predictions.world import World, open_client, replace_settings

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.needs_models, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Logged:
    """A server with two models of two runs, and what XGBoost answers for each."""

    python: str  # has XGBoost, and no MLflow
    url: str
    said: list[dict[str, Any]]


@pytest.fixture(scope="module", params=["2.9.2", "current"])
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    version: str = request.param
    folder, python = tmp_path_factory.mktemp("server"), find_python("xgboost")
    for package in Path(python).parents[1].glob("lib/python*/site-packages/xgboost*"):
        (folder / "packages").mkdir(exist_ok=True)
        (folder / "packages" / package.name).symlink_to(package)  # XGBoost alone: MLflow has its own numpy
    script = Path(__file__).with_name("log_to_server.py")
    environ = {**os.environ, "PYTHONPATH": str(folder / "packages"), "GIT_PYTHON_REFRESH": "quiet"}
    with serve(version, f"sqlite:///{folder / 'mlflow.db'}", folder, workers=1) as url:
        command = [str(find_environment(version) / "python"), str(script), url, "1", "2"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        yield Logged(python, url, read_json(done))


@pytest.fixture
def ports(world: World, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> Ports:
    for name in CLIENT_SETTINGS:  # put back after the test
        monkeypatch.setenv(name, "")
    outside = OverPlace(world.place)
    given = {"mlflow_tracking_uri": logged.url, "artifacts_uri": (world.root / "artifacts").as_uri()}
    outside.settings = replace_settings(outside.settings, **given)
    return Ports(open_importing(outside), outside.open_registry, lambda: outside.tracking)


@pytest.mark.parametrize("sources", ["runs", "models"])
def test_models_of_mlflows_are_served_and_rolled_back(world: World, logged: Logged, ports: Ports, sources: str) -> None:
    """Each answers what XGBoost itself does."""
    texts = [
        f"runs:/{said['run']}/model" if sources == "runs" else f"models:/churn/{number}"
        for number, said in enumerate(logged.said, start=1)
    ]
    registered = [register_source(ports, text, "shop") for text in texts]
    assert all(made.is_new and made.version.flavor == "mlflow" for made in registered)
    assert not register_source(ports, texts[0], "shop").is_new
    promote(world.place.models, registered[0].version)
    app = world.application(model_loader_python=logged.python)
    with open_client(app) as client:

        def answers(version: ModelVersion) -> list[Any]:
            app.routes.holder.look()
            answer = client.post("/invocations", json={"dataframe_records": logged.said[0]["rows"]})
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"]["version"] == version.version
            return [said["prediction"] for said in answer.json()["predictions"]]

        assert answers(registered[0].version) == logged.said[0]["answers"]
        promote(world.place.models, registered[1].version)
        assert answers(registered[1].version) == logged.said[1]["answers"] != logged.said[0]["answers"]
        world.place.models.roll_back(Rollback(name="shop", expected=2))
        assert answers(registered[0].version) == logged.said[0]["answers"]
