"""What kind of model a version is, told by its files: it says which loader can read it."""

from collections.abc import Iterable
from typing import Final

TWO_TOWER: Final = "two-tower"
MLFLOW: Final = "mlflow"
XGBOOST: Final = "xgboost"
SKLEARN: Final = "sklearn"
PICKLE: Final = "pickle"
PICKLED: Final = (".pkl", ".pickle", ".joblib")
KERAS: Final = "keras"
TENSORFLOW: Final = "tensorflow"

SAVED_MODEL: Final = "saved_model.pb"
_XGBOOST_JSON: Final = "model/model.json"
OF_ROWS: Final = frozenset({XGBOOST, SKLEARN, KERAS, TENSORFLOW, PICKLE, MLFLOW})
"""Flavors that answer rows of columns, and are read by a process of their own."""


def choose_flavor(paths: Iterable[str]) -> str:
    """Returns the flavor of a version with these files.

    Empty: it is unknown, or there are several models and nothing says which one is meant.

    >>> choose_flavor(["embeddings/products.parquet", "model/saved_model.pb"])
    'two-tower'
    >>> choose_flavor(["model/MLmodel", "model/data/model.keras"])
    'mlflow'
    >>> choose_flavor(["model/churn.ubj", "model/notes.json"])
    'xgboost'
    >>> choose_flavor(["model/churn.skops", "model/old.pkl"]), choose_flavor(["model/old.pkl"])
    ('sklearn', 'pickle')
    >>> choose_flavor(["model/mood.h5", "model/tokenizer.json"])
    'keras'
    >>> choose_flavor(["model/mood.h5", "model/tokenizer.pkl"])  # not without its words
    'pickle'
    >>> choose_flavor(["model/saved_model.pb", "model/variables/variables.index"])
    'tensorflow'
    >>> choose_flavor(["model/a.ubj", "model/b.skops"])
    ''
    """
    listed = list(paths)
    if any(path.startswith("embeddings/") for path in listed):
        return TWO_TOWER
    if "model/MLmodel" in listed:
        return MLFLOW
    if len(list_candidates(listed)) > 1:
        return ""
    if find_xgboost_file(listed):
        return XGBOOST
    if find_sklearn_file(listed):
        return SKLEARN
    if find_keras_file(listed):
        return PICKLE if find_pickled_tokenizers(listed) else KERAS
    if f"model/{SAVED_MODEL}" in listed:
        return TENSORFLOW
    return PICKLE if find_pickle(listed) else ""


def find_xgboost_file(paths: Iterable[str]) -> str | None:
    """Returns the one ``*.ubj`` in ``model/``, else ``model/model.json``; None: there is none, or there are two.

    >>> find_xgboost_file(["model/churn.ubj", "model/notes.json"])
    'model/churn.ubj'
    >>> find_xgboost_file(["model/a.ubj", "model/b.ubj"]) is None
    True
    """
    listed = [path for path in paths if path.startswith("model/") and path.count("/") == 1]
    found = [path for path in listed if path.endswith(".ubj")] or [path for path in listed if path == _XGBOOST_JSON]
    return found[0] if len(found) == 1 else None


def find_sklearn_file(paths: Iterable[str]) -> str | None:
    """Returns the one ``*.skops`` in ``model/``; None: there is none, or there are two.

    >>> find_sklearn_file(["model/churn.skops", "model/notes.json"])
    'model/churn.skops'
    """
    found = [path for path in paths if path.startswith("model/") and path.count("/") == 1 and path.endswith(".skops")]
    return found[0] if len(found) == 1 else None


def find_pickle(paths: Iterable[str]) -> str | None:
    """Returns the one pickle in ``model/``; None: there is none, or there are two.

    >>> find_pickle(["model/xgb_model.pkl", "model/notes.json"])
    'model/xgb_model.pkl'
    """
    found = [path for path in paths if path.startswith("model/") and path.count("/") == 1 and path.endswith(PICKLED)]
    return found[0] if len(found) == 1 else None


def is_tokenizer(path: str) -> bool:
    """Returns whether a pickle is a tokenizer's, by its name."""
    name = path.rpartition("/")[2].lower()
    return "tokenizer" in name and name.endswith(PICKLED)


def find_pickled_tokenizers(paths: Iterable[str]) -> list[str]:
    """Finds tokenizers that are pickles alone: without them a model of texts would be served as one of numbers.

    >>> find_pickled_tokenizers(["model/mood.h5", "model/tokenizer.pkl"])
    ['model/tokenizer.pkl']
    >>> find_pickled_tokenizers(["model/mood.h5", "model/tokenizer.pkl", "model/tokenizer.json"])
    []
    """
    listed = list(paths)
    folders = {path.rpartition("/")[0] for path in listed if path.endswith("/tokenizer.json")}
    return [path for path in listed if is_tokenizer(path) and path.rpartition("/")[0] not in folders]


def find_keras_file(paths: Iterable[str]) -> str | None:
    """Returns the one ``*.keras`` in ``model/``, else the one ``*.h5``; None: there is none, or there are two.

    >>> find_keras_file(["model/mood.h5", "model/mood.keras"])
    'model/mood.keras'
    >>> find_keras_file(["model/a.h5", "model/b.h5"]) is None
    True
    """
    listed = [path for path in paths if path.startswith("model/") and path.count("/") == 1]
    found = [path for path in listed if path.endswith(".keras")] or [path for path in listed if path.endswith(".h5")]
    return found[0] if len(found) == 1 else None


def list_model_files(paths: Iterable[str]) -> list[str]:
    """Returns the files of ``model/`` each of which is a model by itself. A tokenizer's pickle is none.

    >>> list_model_files(["model/a.ubj", "model/old.pkl", "model/MLmodel", "model/tokenizer.pkl"])
    ['model/a.ubj', 'model/old.pkl']
    """
    listed = [path for path in paths if path.startswith("model/") and path.count("/") == 1 and not is_tokenizer(path)]
    whole = (_XGBOOST_JSON, f"model/{SAVED_MODEL}")
    return [path for path in listed if path.endswith((".ubj", ".skops", ".keras", ".h5", *PICKLED)) or path in whole]


def list_candidates(paths: Iterable[str]) -> list[str]:
    """Lists the files of ``model/`` that would be served.

    These are its model files. A pickle is among them only if all are pickles, because `switchyard convert` leaves the
    pickle beside what it made. If there are several, nothing says which one is meant.

    >>> list_candidates(["model/churn.skops", "model/churn.pkl"]), list_candidates(["model/a.pkl", "model/b.joblib"])
    (['model/churn.skops'], ['model/a.pkl', 'model/b.joblib'])
    """
    listed = list_model_files(paths)
    return [path for path in listed if not path.endswith(PICKLED)] or listed


def find_tensor_files(folder: str, paths: Iterable[str]) -> list[str]:
    """Finds what MLflow has saved in `folder` of a Keras or TensorFlow model.

    Every version of it that is whole has this one file.

    >>> find_tensor_files("model/data", ["model/MLmodel", "model/data/model.keras", "model/data/keras_module.txt"])
    ['model/data/model.keras']
    >>> find_tensor_files("model/data", ["model/data/model/saved_model.pb", "model/data/save_format.txt"])
    ['model/data/model/saved_model.pb']
    """
    known = ("model.keras", "model.h5", f"model/{SAVED_MODEL}", SAVED_MODEL)
    listed = set(paths)
    return [path for path in (f"{folder}/{name}" for name in known) if path in listed]
