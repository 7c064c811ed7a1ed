"""Pickles in the registry: never read in the server.

In a loader's process they are read only where an operator's setting names them.
"""

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.predictions.loaders.loading import NotLoaded, load
from serving.predictions.loaders.pickle_files import Unpickler, find
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadSetup
from switchyard.core.predictions.pickles import KINDS, Kind
from tests.predicting import promote, register_folder
from tests.serving.predictions.planting import PLANTED, add_planted
from tests.serving.predictions.world import World, open_client


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def write(folder: Path) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "xgb_model.pkl").write_bytes(pickle.dumps(Hostile(folder / "written")))
    return folder


def test_a_pickle_is_refused_and_the_old_model_answers_on(world: World, tmp_path: Path) -> None:
    """No process is started; the reason has the command, and the setting with the file's digest."""
    promote(world.place.models, add_planted(world, 1))
    app = world.application(open_rows=PLANTED)
    folder = write(tmp_path / "pickled")
    digest = hashlib.sha256((folder / "model" / "xgb_model.pkl").read_bytes()).hexdigest()
    promote(world.place.models, register_folder(world.place.models, folder))
    app.routes.holder.look()
    with open_client(app) as client:
        why = client.get("/health").json()["why"]
        assert client.post("/predict", json={"instances": [{"a": 1.5, "n": 2}]}).status_code == 200
    assert "switchyard convert model/xgb_model.pkl --to <file>.ubj" in why
    assert f"MODEL_PICKLE_DIGESTS=sha256:{digest}" in why
    assert not (folder / "written").exists()


def test_a_pickle_that_is_named_is_read_in_a_process_of_its_own(world: World, tmp_path: Path) -> None:
    """Not by the server: what reads it is not installed here, and that is what it says."""
    folder = write(tmp_path / "pickled")
    digest = hashlib.sha256((folder / "model" / "xgb_model.pkl").read_bytes()).hexdigest()
    promote(world.place.models, register_folder(world.place.models, folder))
    app = world.application(model_pickle_digests=f"sha256:{digest}")
    with open_client(app) as client:
        assert "pip install -e '.[sklearn]' in the checkout" in client.get("/health").json()["why"]
    assert not (folder / "written").exists()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_name_that_no_model_needs_is_refused_before_it_is_called(tmp_path: Path, kind: Any) -> None:
    """Of each kind."""
    folder = write(tmp_path)
    with pytest.raises(NotLoaded, match=rf"it names {os.system.__module__}\.system"):
        Unpickler(kind, folder / "model" / "xgb_model.pkl").load()
    assert not (folder / "written").exists()


def make_function(module: str, name: str) -> Callable[[], None]:
    def function() -> None:
        pass

    function.__module__, function.__qualname__ = module, name
    return function


CLASSES = "sklearn.metrics._classification"


@pytest.mark.parametrize(
    ("kind", "module", "name", "found", "is_taken"),
    [
        (KINDS[1], CLASSES, "accuracy_score", make_function(CLASSES, "accuracy_score"), True),
        (KINDS[1], CLASSES, "accuracy_score", os.system, False),
        (KINDS[1], "sklearn.metrics", "accuracy_score", make_function(CLASSES, "accuracy_score"), False),
        (KINDS[1], CLASSES, "classification_report", make_function(CLASSES, "classification_report"), False),
        (KINDS[0], CLASSES, "accuracy_score", make_function(CLASSES, "accuracy_score"), False),
    ],
)
def test_a_pickle_may_name_a_score_and_no_other_function(
    kind: Kind, module: str, name: str, found: Callable[[], None], is_taken: bool
) -> None:
    """By which a search has judged; of scikit-learn alone, where it is defined, and only that very function."""
    if is_taken:
        assert find(kind, module, name, lambda *_: found) is found
        return
    with pytest.raises(NotLoaded, match="It was not called"):
        find(kind, module, name, lambda *_: found)


def test_a_refused_name_steers_no_terminal(tmp_path: Path) -> None:
    """It goes to the log, too."""
    (tmp_path / "odd.pkl").write_bytes(b"\x80\x04\x8c\x07foo\x1b[2K\x8c\x04b\nar\x93.")
    with pytest.raises(NotLoaded) as raised:
        Unpickler(KINDS[1], tmp_path / "odd.pkl").load()
    assert r"it names foo\x1b[2K.b\nar." in str(raised.value)


def test_the_loader_reads_no_pickle_that_it_was_not_told_of(tmp_path: Path) -> None:
    """Also where the server did not look."""
    with pytest.raises(NotLoaded, match="was not read"):
        load(write(tmp_path), "pickle", ["model/xgb_model.pkl"])
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("agreed", [False, True])
def test_a_model_of_texts_is_not_served_without_its_words(world: World, tmp_path: Path, agreed: bool) -> None:
    """As one of numbers: what is said is how to make the tokenizer's JSON.

    A tokenizer's pickle is never read, also where its digest is named.
    """
    (tmp_path / "mood" / "model").mkdir(parents=True)
    (tmp_path / "mood" / "model" / "mood.h5").write_bytes(b"looked at by no one")
    tokenizer = pickle.dumps(Hostile(tmp_path / "written"))
    (tmp_path / "mood" / "model" / "tokenizer.pkl").write_bytes(tokenizer)
    promote(world.place.models, register_folder(world.place.models, tmp_path / "mood"))
    digest = f"sha256:{hashlib.sha256(tokenizer).hexdigest()}"
    app = world.application(model_pickle_digests=digest if agreed else "")
    with open_client(app) as client:
        why = client.get("/health").json()["why"]
    assert "switchyard convert model/tokenizer.pkl --to model/tokenizer.json" in why
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("value", ["xgb_model.pkl", "sha256:abc", "sha256:" + "A" * 64, "sha256:" + "a" * 64 + ",all"])
def test_a_setting_that_names_no_digest_is_refused(value: str) -> None:
    """A slip does not open the door."""
    with pytest.raises(BadSetup, match="MODEL_PICKLE_DIGESTS must be sha256:<64 hex digits>"):
        read_settings({"MODEL_PICKLE_DIGESTS": value})
