"""Models that their libraries themselves have trained and saved, through registry and server.

`make test-models` builds what this needs.
"""

import os
import random
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.predictions.app import Application
from serving.predictions.loader_process import RowLoader
from switchyard.core.errors import BadRecord
from switchyard.core.registry.manifest import Manifest, ModelFile
from switchyard.core.registry.rows import Rollback
from tests.predicting import promote, register_folder
from tests.serving.predictions.real.environments import find_python, run_there
from tests.serving.predictions.world import World, open_client

pytestmark = [pytest.mark.slow, pytest.mark.needs_models]
DAMAGED = int(os.environ.get("DAMAGED", "6"))
"""Copies of each format; each is read by a process of its own, which takes a second."""
BIG_BYTES = int(os.environ.get("BIG_BYTES", 64 * 1024**2))
"""Of a file that is no model: 2 GB take a minute."""


@dataclass(frozen=True)
class Trained:
    """The folders that a library wrote, and what it answered."""

    python: str
    folder: Path
    said: dict[str, Any]
    other: Path  # trained on other data


@pytest.fixture(scope="module")
def xgboost(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return _train(tmp_path_factory.mktemp("xgboost"), "train_xgboost.py", find_python("mlflow"))


@pytest.fixture(scope="module")
def sklearn(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return _train(tmp_path_factory.mktemp("sklearn"), "train_sklearn.py", find_python("xgboost"))


@pytest.fixture
def trained(request: pytest.FixtureRequest) -> Trained:
    """Of the library that the test names, by default XGBoost."""
    found: Trained = request.getfixturevalue(getattr(request, "param", "xgboost"))
    return found


def _train(folder: Path, script: str, trainer: str) -> Trained:
    python, path = find_python("xgboost"), Path(__file__).with_name(script)
    said = run_there(trainer, path, str(folder / "one"), "1")
    run_there(trainer, path, str(folder / "two"), "2")
    return Trained(python, folder / "one", said, folder / "two")


@pytest.fixture
def app(world: World, trained: Trained) -> Iterator[Application]:
    made = world.application(model_loader_python=trained.python)
    yield made
    made.routes.holder.close()


@pytest.fixture
def client(app: Application) -> Iterator[TestClient]:
    with open_client(app) as made:
        yield made


def ask(client: TestClient, rows: list[Any]) -> list[Any]:
    answer = client.post("/predict", json={"instances": rows})
    assert answer.status_code == 200, answer.text
    return [said["prediction"] for said in answer.json()["predictions"]]


@pytest.mark.parametrize(
    ("trained", "names"),
    [
        ("xgboost", ["binary", "many", "early", "named"]),
        ("sklearn", ["binary", "forest", "gaps", "mixed", "texts"]),
    ],
    indirect=["trained"],
)
def test_the_server_answers_what_the_library_answers(
    world: World, app: Application, client: TestClient, trained: Trained, names: list[str]
) -> None:
    """To the last bit: in each format, numbers and texts, missing values, trees after the best one left out."""
    for name in names:
        promote(world.place.models, register_folder(world.place.models, trained.folder / name))
        app.routes.holder.look()
        assert ask(client, trained.said["rows"][name]) == trained.said["answers"][name], name
        assert client.get("/health").json()["model"]["library"].startswith(("xgboost ", "scikit-learn "))


def test_a_number_that_xgboost_cannot_hold_is_named(
    world: World, app: Application, client: TestClient, trained: Trained
) -> None:
    """It counts in 32 bits, and fails on what is infinite there."""
    promote(world.place.models, register_folder(world.place.models, trained.folder / "named"))
    app.routes.holder.look()
    answer = client.post("/predict", json={"age": 1e39})
    assert answer.status_code == 422, answer.text
    assert "`age` of instance 0 must be a number from -3.4028235e+38 to" in answer.json()["detail"]
    assert client.post("/predict", json={"age": 3.4e38, "orders": 2**63 - 1}).status_code == 200


def test_columns_have_the_names_and_types_of_the_training(
    world: World, app: Application, client: TestClient, trained: Trained
) -> None:
    """In whatever order an object has them; what is wrong is named."""
    promote(world.place.models, register_folder(world.place.models, trained.folder / "named"))
    app.routes.holder.look()
    age, orders, vip, height = trained.said["rows"]["named"][0]
    row = {"height": height, "vip": vip, "orders": orders, "age": age}
    assert ask(client, [row]) == trained.said["answers"]["named"][:1]
    answer = client.post("/predict", json={"instances": [{**row, "orders": 1.5, "weight": 3}]})
    assert answer.status_code == 422
    assert "`weight`, which the model does not take" in answer.json()["detail"]
    assert "`orders` of instance 0 must be a whole number" in answer.json()["detail"]


@pytest.mark.parametrize("trained", ["xgboost", "sklearn"], indirect=True)
def test_a_promotion_is_served_and_rolled_back(
    world: World, app: Application, client: TestClient, trained: Trained
) -> None:
    """Each answers as it did."""
    rows = trained.said["rows"]["binary"]
    for folder in (trained.folder, trained.other):
        promote(world.place.models, register_folder(world.place.models, folder / "binary"))
        app.routes.holder.look()
    assert ask(client, rows) != trained.said["answers"]["binary"]
    world.place.models.roll_back(Rollback(name="shop", expected=2))
    app.routes.holder.look()
    assert ask(client, rows) == trained.said["answers"]["binary"]


def test_columns_of_categories_are_refused_by_name_and_the_old_model_answers_on(
    world: World, app: Application, client: TestClient, trained: Trained
) -> None:
    """What a category is called is not in the model."""
    promote(world.place.models, register_folder(world.place.models, trained.folder / "binary"))
    app.routes.holder.look()
    promote(world.place.models, register_folder(world.place.models, trained.folder / "categories"))
    app.routes.holder.look()
    assert "columns of categories are not served; these are some: f0, f1" in client.get("/health").json()["why"]
    assert ask(client, trained.said["rows"]["binary"]) == trained.said["answers"]["binary"]


def test_a_server_without_the_library_says_what_to_install(world: World, trained: Trained) -> None:
    """And is not ready; the model is not to blame."""
    promote(world.place.models, register_folder(world.place.models, trained.folder / "binary"))
    app = world.application()  # this environment has no XGBoost
    with open_client(app) as client:
        why = client.get("/health").json()["why"]
    assert "pip install -e '.[xgboost]' in the checkout" in why


@pytest.mark.parametrize(("name", "version"), [("binary", b"i\x03i\x02i\x00}"), ("many", b"[3,2,0]}")])
def test_a_model_of_a_newer_library_is_refused_with_what_to_install(
    world: World, app: Application, client: TestClient, trained: Trained, tmp_path: Path, name: str, version: bytes
) -> None:
    """XGBoost itself reads it without a word. The old model answers on."""
    promote(world.place.models, register_folder(world.place.models, trained.folder / "binary"))
    app.routes.holder.look()
    (source,) = (trained.folder / name / "model").iterdir()
    newer = version.replace(b"3", b"9").replace(b"\x03", b"\x09")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / source.name).write_bytes(source.read_bytes().removesuffix(version) + newer)
    promote(world.place.models, register_folder(world.place.models, tmp_path))
    app.routes.holder.look()
    why = client.get("/health").json()["why"]
    assert f"model/{source.name}: XGBoost 9.2.0 saved it, and 3.2.0 is installed for {trained.python}" in why
    assert "MODEL_LOADER_PYTHON" in why
    assert ask(client, trained.said["rows"]["binary"]) == trained.said["answers"]["binary"]


def test_a_big_file_is_refused_within_its_bounds_and_the_server_answers_all_the_while(
    world: World, trained: Trained
) -> None:
    """It is copied, hashed and read; the reason is shown."""
    promote(world.place.models, register_folder(world.place.models, trained.folder / "binary"))
    with tempfile.TemporaryDirectory(dir="/var/tmp") as disk:  # the tests' own folder may be in memory
        app = world.application(model_loader_python=trained.python, model_cache_dir=f"{disk}/cache")
        with open_client(app) as client:
            path = Path(disk, "big", "model", "model.json")
            path.parent.mkdir(parents=True)
            path.touch()
            os.truncate(path, BIG_BYTES)
            promote(world.place.models, register_folder(world.place.models, path.parents[1]))
            looking = threading.Thread(target=app.routes.holder.look)
            looking.start()
            asked = 0
            while looking.is_alive() or not asked:
                assert ask(client, trained.said["rows"]["binary"]) == trained.said["answers"]["binary"]
                asked += 1
            health = client.get("/health").json()
        app.routes.holder.close()
    assert (health["status"], health["model"]["version"]) == ("degraded", 1)
    assert "model/model.json: XGBoost 3.2.0 does not read it" in health["why"]


@pytest.mark.parametrize("trained", ["sklearn"], indirect=True)
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("untrusted", "types that are not on the list of trusted ones: numpy.loadtxt"),
        ("old", "is not loaded: model/model.skops: scikit-learn 1.2.0 saved it, and here is "),
    ],
)
def test_a_model_that_is_not_served_says_why_and_the_old_one_answers_on(
    world: World, app: Application, client: TestClient, trained: Trained, name: str, problem: str
) -> None:
    """A type that is not trusted, and another version of scikit-learn."""
    for folder in ("binary", name):
        promote(world.place.models, register_folder(world.place.models, trained.folder / folder))
        app.routes.holder.look()
    assert problem in client.get("/health").json()["why"]
    assert ask(client, trained.said["rows"]["binary"]) == trained.said["answers"]["binary"]


@pytest.mark.parametrize("trained", ["sklearn"], indirect=True)
def test_the_columns_of_a_pipeline_are_told_by_its_first_steps(
    world: World, app: Application, client: TestClient, trained: Trained
) -> None:
    """Text where an encoder knows texts; null where an imputer or the encoder knows it, and nowhere else."""
    promote(world.place.models, register_folder(world.place.models, trained.folder / "mixed"))
    app.routes.holder.look()
    row = trained.said["rows"]["mixed"][0]
    answer = client.post("/predict", json={"instances": [{**row, "town": 3, "age": None, "coat": None}]})
    assert answer.status_code == 422
    assert "`town` of instance 0 must be a text" in answer.json()["detail"]
    assert "`age` of instance 0 must be a number" in answer.json()["detail"]
    assert "`coat` of" not in answer.json()["detail"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("trained", "name"),
    [("xgboost", "binary"), ("xgboost", "many"), ("sklearn", "forest")],
    indirect=["trained"],
)
def test_damaged_files_never_end_the_server(trained: Trained, tmp_path: Path, name: str) -> None:
    """UBJSON, JSON and skops: each damaged file is refused with a reason, or answers; some of them end their reader."""
    (source,) = (trained.folder / name / "model").iterdir()
    assert _load_damaged(trained.python, source, tmp_path, count=DAMAGED) > 0


def _load_damaged(python: str, source: Path, folder: Path, *, count: int) -> int:
    """How many of `count` damaged copies are refused; of each a few bytes are others, or the end is missing."""
    whole, draw, refused = source.read_bytes(), random.Random(7), 0
    (folder / "model").mkdir()
    path = folder / "model" / source.name
    loader = RowLoader(python=python)
    for number in range(count):
        data = bytearray(whole)
        if number % 4 == 3:
            del data[draw.randrange(len(data)) :]
        else:
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        file = ModelFile(path=f"model/{source.name}", size_bytes=len(data), sha256="0" * 64)
        try:
            model = loader(folder, Manifest((file,)), f"copy {number}")
        except BadRecord as err:
            assert err.problems
            refused += 1
        else:
            model.close()
    return refused
