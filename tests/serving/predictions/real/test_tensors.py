"""Models that Keras and TensorFlow themselves have made, and MLflow saved, through registry and server.

`make test-models` builds it. Each load takes seconds: TensorFlow is imported again.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.predictions.app import Application
from switchyard.core.registry.rows import Rollback
from tests.predicting import promote, register_folder
from tests.root import ROOT
from tests.serving.predictions.real.environments import read_json, run_there
from tests.serving.predictions.real.near import near
from tests.serving.predictions.world import World, open_client

pytestmark = [pytest.mark.slow, pytest.mark.needs_models, pytest.mark.timeout(3600)]
DAMAGED = os.environ.get("DAMAGED", "6")


@dataclass(frozen=True)
class Made:
    """The folders that the libraries wrote, and what Keras answered."""

    folder: Path
    said: dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    state = Path(os.environ.get("STATE_DIR") or ROOT / ".switchyard")
    packages = list((state / "mlflow-current" / "lib").glob("python*/site-packages"))
    if not packages:
        pytest.skip(f"no environment of a current MLflow in {state}: make test-models builds it")
    folder = tmp_path_factory.mktemp("tensors")
    said = run_there(sys.executable, Path(__file__).with_name("train_keras.py"), str(folder), str(packages[0]))
    return Made(folder, said)


@pytest.fixture
def app(world: World) -> Iterator[Application]:
    made = world.application()  # the server's own environment has TensorFlow here
    yield made
    made.routes.holder.close()


@pytest.fixture
def client(app: Application) -> Iterator[TestClient]:
    with open_client(app) as opened:
        yield opened


def serve(world: World, app: Application, folder: Path) -> None:
    promote(world.place.models, register_folder(world.place.models, folder))
    app.routes.holder.look()


def ask(client: TestClient, rows: list[Any]) -> Any:
    answer = client.post("/predict", json={"instances": rows})
    assert answer.status_code == 200, answer.text
    return [said["prediction"] for said in answer.json()["predictions"]]


def test_texts_are_answered_promoted_and_rolled_back_and_a_program_is_never_run(
    world: World, app: Application, client: TestClient, made: Made
) -> None:
    """A Bidirectional GRU in `.h5` with a tokenizer; another in `.keras`; graphs with files; Lambda layers."""
    texts, answers = made.said["texts"], made.said["answers"]
    serve(world, app, made.folder / "mood.h5")
    assert client.get("/health").json()["model"]["library"].startswith("keras 3.")
    assert near(ask(client, [{"text": text} for text in texts]), answers["mood.h5"])
    alone = client.post("/predict", json={"text": texts[0]}).json()["predictions"]
    assert near([said["prediction"] for said in alone], answers["mood.h5"][:1])
    serve(world, app, made.folder / "other.keras")
    assert near(ask(client, texts), answers["other.keras"])
    assert not near(answers["other.keras"], answers["mood.h5"])
    world.place.models.roll_back(Rollback(name="shop", expected=2))
    app.routes.holder.look()
    assert near(ask(client, texts), answers["mood.h5"])
    for name, why in [
        ("writer", "operations that are not on the list of those that are served: WriteFile (in __inference_serve_"),
        ("reader", "it fills a table from a file that is not known to be one of its assets (in __inference_serve_"),
        ("lambda.h5", "the layer 'double' is a Lambda, which is a program"),
        ("lambda.keras", "the layer 'double' is a Lambda, which is a program"),
    ]:
        serve(world, app, made.folder / name)
        assert why in client.get("/health").json()["why"]
        assert near(ask(client, texts[:1]), answers["mood.h5"][:1])
    assert not (made.folder / "written").exists()
    answer = client.post("/predict", json={"instances": [{"text": 3}, {"txt": "good"}]})
    assert answer.status_code == 422
    assert "`text` of instance 0 must be a text; it is 3" in answer.json()["detail"]
    assert "instance 1 has `txt`, which the model does not take" in answer.json()["detail"]


def test_what_mlflow_saved_is_answered_as_keras_answers(
    world: World, app: Application, client: TestClient, made: Made
) -> None:
    """Inputs by name, answers by name; `.keras`, a SavedModel, and the layout of MLflow 2.9.2 with `.h5`."""
    rows = made.said["rows"]
    for name in ("logged", "logged by 2.9.2"):
        serve(world, app, made.folder / name)
        assert all(
            near(a[key], b[key]) for a, b in zip(ask(client, rows), made.said["logged"], strict=True) for key in b
        )
    answer = client.post("/predict", json={"instances": [{"one": [1, 2], "two": 1}]})
    assert answer.status_code == 422
    assert "`one` of instance 0 must have 3 values; it has 2" in answer.json()["detail"]
    serve(world, app, made.folder / "exported")
    assert client.get("/health").json()["model"]["library"].startswith("tensorflow 2.")
    assert near(ask(client, [row["one"] for row in rows]), made.said["exported"])


@pytest.mark.parametrize(
    ("name", "file", "library"),
    [
        ("newer.h5", "newer.h5", "Keras"),
        ("newer.keras", "newer.keras", "Keras"),
        ("newer", "saved_model.pb", "TensorFlow"),
    ],
)
def test_a_model_of_a_newer_library_is_refused_with_what_to_install(
    world: World, app: Application, client: TestClient, made: Made, name: str, file: str, library: str
) -> None:
    """The files are whole, and the library here reads them without a word. The old model answers on."""
    rows = [row["one"] for row in made.said["rows"]]
    serve(world, app, made.folder / "small")
    before = ask(client, rows)
    serve(world, app, made.folder / name)
    why = client.get("/health").json()["why"]
    assert f"model/{file}: {library} 9.8.7 saved it, and {made.said['versions'][library]} is installed for" in why
    assert "MODEL_LOADER_PYTHON" in why
    assert ask(client, rows) == before


def test_damaged_files_are_refused_or_end_their_reader(made: Made) -> None:
    """Each format, a few copies; more with `DAMAGED`. None takes longer than the loader may."""
    files = ["mood.h5/model/mood.h5", "other.keras/model/other.keras", "small/model/saved_model.pb"]
    files += ["short/model/tokenizer.json", "exported/model/MLmodel"]
    script = "tests.serving.predictions.real.read_damaged"  # as a module: it reads by the loader's own functions
    command = [sys.executable, "-m", script, DAMAGED, str(made.folder), *files]
    seconds = 240 + 10 * int(DAMAGED)
    found = read_json(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds))
    for file in files:
        assert sum(found[file].values()) == int(DAMAGED)
        assert "took too long" not in found[file]
        assert found[file].get("refused", 0) > 0
