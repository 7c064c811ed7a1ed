"""The port of the loaders, and which loader reads which flavor; libraries are imported only in a separate process."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from switchyard.core.predictions.saved_by import find_newer
from switchyard.core.predictions.signature import Row, Signature
from switchyard.core.registry.flavors import KERAS, MLFLOW, PICKLE, SKLEARN, TENSORFLOW, XGBOOST

_INSTALL_NEWER: Final = (
    "Install that version there, or name an interpreter that has it: MODEL_LOADER_PYTHON. Or save the model with the "
    "version that is installed"
)

SAVE_BEST: Final = (
    "If the model is a search over parameters, save and convert what it found, which answers alike: best_estimator_"
)


class LoadedRows(Protocol):
    """A model in memory; it answers the same for one row at a time or many, and in a second call."""

    signature: Signature
    """The columns that it takes, and what it answers."""

    @property
    def library(self) -> str:
        """The library that reads it, with its version."""

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        """Returns one answer for each row, as the library itself answers."""


class NotLoaded(Exception):
    """The files are not a model that can be served; the error lists all problems."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class OtherLibrary(NotLoaded):
    """The files are fine, but the library that is installed here has another version than the one that saved them."""


def check_not_newer(path: str, library: str, saved: str, installed: str) -> None:
    """Raises: OtherLibrary: a newer version than the installed one saved the file, by the first two numbers.

    A library may read such a file without a warning, and answer something else."""
    if newer := find_newer(library, saved, installed):
        raise OtherLibrary(f"{path}: {newer} for {sys.executable}. {_INSTALL_NEWER}")


def shorten(err: Exception) -> str:
    """Returns the first line of an error that is not empty; what comes after it is often a stack trace."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return (lines[0][:300] if lines else type(err).__name__).rstrip(".")


def load(
    folder: Path, flavor: str, paths: Sequence[str], pickles: Sequence[str] = (), tokenizer: str = ""
) -> LoadedRows:
    """Loads the model of that flavor in `folder`.

    `pickles` are those that the operator allows; `tokenizer` is the file of a text model's tokenizer, or empty for
    tokenizer.json, if it is there.

    Raises: NotLoaded: it cannot be served, or its flavor is unknown. ModuleNotFoundError: its library is missing.
    """
    if flavor == XGBOOST:
        from serving.predictions.loaders.xgboost_files import load_xgboost

        return load_xgboost(folder, paths)
    if flavor == SKLEARN:
        from serving.predictions.loaders.sklearn_files import load_sklearn

        return load_sklearn(folder, paths)
    if flavor == KERAS:
        from serving.predictions.loaders.keras_files import load_keras

        return load_keras(folder, paths, tokenizer)
    if flavor == TENSORFLOW:
        from serving.predictions.loaders.saved_model import load_saved_model

        return load_saved_model(folder, paths, tokenizer)
    if flavor == MLFLOW:
        from serving.predictions.loaders.mlflow_folder import load_mlflow

        return load_mlflow(folder, paths, pickles, tokenizer)
    if flavor == PICKLE:
        from serving.predictions.loaders.pickle_files import load_pickle

        return load_pickle(folder, paths, pickles)
    raise NotLoaded(f"no loader reads the flavor {flavor!r}")
