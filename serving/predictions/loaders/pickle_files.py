"""Pickles of XGBoost and scikit-learn models, read only with someone's consent and never in the server's process.

The consent is `switchyard convert` or MODEL_PICKLE_DIGESTS. A pickle may name only classes of models of its library and
plain values. That is a fence, not a proof that its code is harmless.
"""

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.predictions.loaders.loading import SAVE_BEST, LoadedRows, NotLoaded, OtherLibrary
from switchyard.core.predictions.pickles import (
    FUNCTIONS,
    KINDS,
    PICKLING_FUNCTION,
    PREFIX_OF_FUNCTIONS,
    UFUNC_MODULES,
    Kind,
    guess_kind,
    may_have,
    may_name,
    say_pickle,
    to_printable,
)
from switchyard.core.predictions.score_functions import SCORE_FUNCTIONS
from switchyard.core.registry.flavors import find_keras_file, find_pickle

if TYPE_CHECKING:
    from serving.predictions.loaders.xgboost_files import XGBoostModel


def load_pickle(folder: Path, paths: Sequence[str], pickles: Sequence[str]) -> LoadedRows:
    """Loads the only pickle in `folder`, if `pickles` has it. Raises: NotLoaded: it cannot be served."""
    path = find_pickle(paths)
    if path is None or path not in pickles or find_keras_file(paths):  # a tokenizer is read only as JSON
        raise NotLoaded(say_pickle(path or "model/"))
    if guess_kind((folder / path).read_bytes()).name == "xgboost":
        _, model = read_xgboost_pickle(folder / path)
        return model
    from serving.predictions.loaders.sklearn_files import SklearnModel

    return SklearnModel(read_sklearn_pickle(folder / path))


def read_xgboost_pickle(path: Path) -> "tuple[Any, XGBoostModel]":
    """Returns the pickle's object, and the same as our `XGBoostModel`. Raises: NotLoaded: it is of another kind."""
    from serving.predictions.loaders.xgboost_files import XGBoostModel

    kind = KINDS[0]
    old = Unpickler(kind, path).load()
    booster = old.get_booster() if hasattr(old, "get_booster") else old
    if not hasattr(old, "save_model") or not hasattr(booster, "num_boosted_rounds"):
        raise refuse(old, kind)
    # The scikit-learn classes leave out the trees after the best one; a Booster does not.
    best = booster.attr("best_iteration") if old is not booster else None
    return old, XGBoostModel(booster, None, trees=(0, 0 if best is None else int(best) + 1))


def read_sklearn_pickle(path: Path) -> Any:
    """Returns the object in a pickle or a joblib file.

    Raises: NotLoaded: it is of another kind. OtherLibrary: another minor version of scikit-learn made it."""
    from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler
    from joblib.numpy_pickle_utils import _validate_fileobject_and_memmap

    from serving.predictions.loaders.sklearn_files import find_other_version, warned_of_versions

    kind = KINDS[1]

    class Reader(NumpyUnpickler):  # type: ignore[misc]  # joblib has no types
        """Reads joblib's files too, which have arrays between the parts of a pickle."""

        def find_class(self, module: str, name: str) -> Any:
            found = find(kind, module, name, super().find_class)
            return Array if found is NumpyArrayWrapper else found

    class Array(NumpyArrayWrapper):  # type: ignore[misc]
        """Reads arrays; an array of objects is its own pickle, which older joblibs read without asking `Reader`."""

        def read_array(self, unpickler: Any, *given: Any) -> Any:
            if not self.dtype.hasobject:
                return super().read_array(unpickler, *given)
            inner = pickle._Unpickler(unpickler.file_handle)  # it does not read past the pickle's end
            inner.find_class = unpickler.find_class  # type: ignore[method-assign]
            return inner.load()

    with (
        warned_of_versions() as warned,
        path.open("rb") as raw,
        _validate_fileobject_and_memmap(raw, str(path), None) as (file, _),  # also opens a compressed file
    ):
        old = Reader(str(path), file, ensure_native_byte_order=True).load()
    if other := find_other_version(warned):
        raise OtherLibrary(other)
    if not hasattr(old, "get_params") or not hasattr(old, "predict"):
        raise refuse(old, kind)
    return old


class Unpickler(pickle.Unpickler):
    """An unpickler that finds only what a pickle of its kind may name."""

    def __init__(self, kind: Kind, path: Path) -> None:
        super().__init__(io.BytesIO(path.read_bytes()))
        self._kind = kind

    def find_class(self, module: str, name: str) -> Any:
        """Finds what the pickle names. Raises: NotLoaded: it may not name that."""
        return find(self._kind, module, name, super().find_class)


def find(kind: Kind, module: str, name: str, find_class: Callable[[str, str], Any]) -> Any:
    """Finds what a pickle names. Raises: NotLoaded: such a model is not made of that."""
    said = to_printable(f"{module[:80]}.{name[:80]}").replace("\n", "\\n")
    hint = f". {SAVE_BEST}" if module.startswith("scipy.stats") else ""  # the distributions of a parameter search
    refused = NotLoaded(
        f"it names {said}. No {kind.title} has a use for that. It was not called, and nothing was made{hint}"
    )
    if not may_name(kind, module, name):
        raise refused
    found = find_class(module, name)
    if f"{module}.{name}" in FUNCTIONS:
        return found
    if type(found).__name__ == "ufunc":
        if module in UFUNC_MODULES:
            return found
        raise refused
    if name.startswith(PREFIX_OF_FUNCTIONS) or name == PICKLING_FUNCTION:
        if may_have(kind, module, name) and str(getattr(found, "__module__", "")) == module:
            return found
        raise refused
    own = getattr(found, "__module__", ""), getattr(found, "__qualname__", "")
    if f"{module}.{name}" in SCORE_FUNCTIONS and own == (module, name) and may_name(kind, *own):
        return found
    if isinstance(found, type) and may_have(kind, *own):
        return found
    raise refused


def refuse(old: Any, kind: Kind) -> NotLoaded:
    """Returns the error for a pickle that holds something else, with the name of its class."""
    return NotLoaded(f"it holds a {say_class(old)}, which is no {kind.title}")


def say_class(old: Any) -> str:
    """Returns the full name of an object's class."""
    return f"{type(old).__module__}.{type(old).__qualname__}"
