"""Pickles that their libraries have made, converted, and served from the new file.

`make test-models` builds the environments.
"""

import json
import pickle
import sys
from pathlib import Path

import pytest

from serving.convert.command import main
from tests.serving.predictions.real.environments import find_python, run_there

pytestmark = pytest.mark.slow
SCRIPTS = Path(__file__).parents[1] / "predictions" / "real"


@pytest.fixture(scope="module")
def pickles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pickles of scikit-learn and XGBoost."""
    folder = tmp_path_factory.mktemp("pickles")
    for script in ("train_sklearn.py", "train_xgboost.py"):
        run_there(find_python("xgboost"), SCRIPTS / script, str(folder / script), "1")
    return folder


@pytest.mark.needs_models
@pytest.mark.parametrize(
    ("name", "target", "class_name"),
    [
        ("train_xgboost.py/early.pkl", "new.ubj", "xgboost.sklearn.XGBRegressor"),
        ("train_sklearn.py/mixed.pkl", "new.skops", "sklearn.pipeline.Pipeline"),
        ("train_sklearn.py/forest.joblib", "new.skops", "sklearn.ensemble._forest.RandomForestClassifier"),
        ("train_sklearn.py/search.pkl", "new.skops", "sklearn.model_selection._search.GridSearchCV"),
        ("train_sklearn.py/within.pkl", "new.skops", "sklearn.pipeline.Pipeline"),
    ],
)
def test_old_and_new_answer_alike(
    pickles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    target: str,
    class_name: str,
) -> None:
    """To the last bit, read by the server's own loader; trees after the best one stay out."""
    monkeypatch.setenv("MODEL_LOADER_PYTHON", find_python("xgboost"))
    assert main([str(pickles / name), "--to", str(tmp_path / target), "--run-its-code"]) == 0
    said = capsys.readouterr().out
    assert class_name in said
    assert "200 made-up rows: old and new answer alike, max difference 0." in said
    assert [path.name for path in tmp_path.iterdir()] == [target]


@pytest.mark.needs_models
@pytest.mark.parametrize(
    ("name", "target", "problem"),
    [
        ("train_sklearn.py/old.pkl", "new.skops", "scikit-learn 1.2.0 saved it, and here is "),
        ("train_xgboost.py/cut.pkl", "new.ubj", "pickle data was truncated"),
        ("train_sklearn.py/list.pkl", "new.skops", "it holds a builtins.list, which is no scikit-learn model"),
        (
            "train_sklearn.py/drawn.pkl",
            "new.skops",
            "save and convert what it found, which answers alike: best_estimator_",
        ),
        ("train_sklearn.py/mixed.pkl", "new.ubj", "it names sklearn.pipeline.Pipeline. No XGBoost model has a use"),
    ],
)
def test_what_is_not_converted_says_why(
    pickles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    target: str,
    problem: str,
) -> None:
    """Another version, half a file, another kind; no file is left, and no part of one."""
    monkeypatch.setenv("MODEL_LOADER_PYTHON", find_python("xgboost"))
    (pickles / "train_xgboost.py" / "cut.pkl").write_bytes(
        (pickles / "train_xgboost.py" / "early.pkl").read_bytes()[:3000]
    )
    (pickles / "train_sklearn.py" / "list.pkl").write_bytes(pickle.dumps([1]))
    assert main([str(pickles / name), "--to", str(tmp_path / target), "--run-its-code"]) == 1
    assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_of_keras_2_becomes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pickle names a module that Keras 3 has not."""
    from keras.src.legacy.preprocessing import text

    made = text.Tokenizer(num_words=20, oov_token="?")
    made.fit_on_texts(["a good shoe", "a bad shoe, and late"])
    data = pickle.dumps(made, 2).replace(b"ckeras.src.legacy.preprocessing.text\n", b"ckeras.preprocessing.text\n")
    assert b"ckeras.preprocessing.text\nTokenizer" in data
    (tmp_path / "tokenizer.pkl").write_bytes(data)
    monkeypatch.setenv("MODEL_LOADER_PYTHON", sys.executable)
    target = tmp_path / "tokenizer.json"
    assert main([str(tmp_path / "tokenizer.pkl"), "--to", str(target)]) == 0
    assert "old and new answer alike" in capsys.readouterr().out
    assert json.loads(target.read_text()) == json.loads(made.to_json())
