"""A folder of MLflow's that is refused, before any library is imported."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from serving.predictions.loaders.loading import NotLoaded, load
from switchyard.core.predictions.signature import Signature

HOSTILE = "flavors: {python_function: {loader_module: tests.serving.predictions.planted.hostile, data: model.ubj}}"


def write(folder: Path, text: str) -> Path:
    (folder / "model").mkdir()
    (folder / "model" / "MLmodel").write_text(text)
    (folder / "model" / "model.pkl").write_bytes(b"a pickle")
    return folder


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HOSTILE, "What loader_module names is never imported"),
        ("flavors: {lightgbm: {data: model.lgb}}", "its flavors are lightgbm; served are xgboost"),
        ("flavors: {sklearn: {pickled_model: model.pkl}}", "switchyard convert model/model.pkl --to <file>.ubj"),
        (
            "flavors: {sklearn: {pickled_model: model.skops, serialization_format: skops}, "
            "python_function: {predict_fn: __reduce__}}",
            "answers by '__reduce__'; served are predict, predict_proba",
        ),
        ("flavors: {xgboost: {data: ../secret.ubj}}", "'../secret.ubj', which is not one of the version's files"),
        ("flavors: {keras: {data: ../x}}", "'../x' that MLmodel names must have one of model.keras, model.h5 and"),
        ("flavors: {tensorflow: {saved_model_dir: tf2model}}", "'tf2model' that MLmodel names must have one of"),
        ("flavors: {xgboost: {data: /etc/passwd}}", "'/etc/passwd', which is not one of the version's files"),
        ("!!python/object/apply:os.system ['touch written']", "it is not YAML with only data"),
        ("flavors: [", "it is not YAML with only data"),
        ("[" * 100_000, "it is not YAML with only data"),
        ("x: " + "y" * 1_000_001, "must have at most 1,000,000 bytes"),
    ],
)
def test_what_it_names_is_never_run(tmp_path: Path, text: str, problem: str) -> None:
    """No module is imported that was not before."""
    before = set(sys.modules)
    with pytest.raises(NotLoaded) as raised:
        load(write(tmp_path, text), "mlflow", ["model/MLmodel", "model/model.ubj", "model/model.pkl"])
    assert problem in str(raised.value)
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert new <= {"yaml", "_yaml", "serving", "switchyard"}
    assert not (tmp_path / "written").exists()


def test_what_is_answered_is_said_with_the_signatures_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `/health` shows it."""
    text = """{flavors: {xgboost: {data: model.ubj}}, signature: {inputs: '[{"type": "double", "name": "a"}]',
        outputs: '[{"type": "long", "name": "class"}]'}}"""
    library = ModuleType("serving.predictions.loaders.xgboost_files")
    library.read_xgboost = lambda *_: SimpleNamespace(  # type: ignore[attr-defined]
        signature=Signature(columns=(), answers="a number")
    )
    monkeypatch.setitem(sys.modules, library.__name__, library)
    model = load(write(tmp_path, text), "mlflow", ["model/MLmodel", "model/model.ubj"])
    assert model.signature.answers == "a number; MLflow's own server answers, by the signature: class (long)"


def test_a_pickle_that_it_names_is_refused_with_its_digest(tmp_path: Path) -> None:
    """The setting can be pasted."""
    folder = write(tmp_path, "flavors: {sklearn: {pickled_model: model.pkl}}")
    digest = hashlib.sha256(b"a pickle").hexdigest()
    with pytest.raises(NotLoaded, match=f"MODEL_PICKLE_DIGESTS=sha256:{digest}"):
        load(folder, "mlflow", ["model/MLmodel", "model/model.pkl"])


def test_a_model_of_texts_is_not_served_without_its_words(tmp_path: Path) -> None:
    """As one of numbers, whatever folder of it has the tokenizer's pickle."""
    folder = write(tmp_path, "flavors: {keras: {data: data}}")
    with pytest.raises(NotLoaded, match=r"switchyard convert model/data/tokenizer.pkl --to model/data/tokenizer.json"):
        load(folder, "mlflow", ["model/MLmodel", "model/data/model.h5", "model/data/tokenizer.pkl"])
