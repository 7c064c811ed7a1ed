"""XGBoost's own formats, UBJSON and JSON; a pickle is never read here."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost

from serving.predictions.loaders.loading import NotLoaded, check_not_newer, shorten
from switchyard.core.predictions.mlmodel import find_column_problems
from switchyard.core.predictions.saved_by import read_xgboost_version
from switchyard.core.predictions.signature import Column, Row, Signature, Type
from switchyard.core.predictions.tensors import limit
from switchyard.core.registry.flavors import find_xgboost_file

_TAIL_BYTES: Final = 200
_TYPES: Final = {"float": Type.NUMBER, "q": Type.NUMBER, "int": Type.INTEGER, "i": Type.BOOLEAN}
"""Source: https://xgboost.readthedocs.io/en/stable/python/python_api.html#xgboost.DMatrix, `feature_types`."""


class XGBoostModel:
    """Implements `LoadedRows` with `Booster.predict`, and uses the same trees as the class that saved the model."""

    def __init__(
        self, booster: xgboost.Booster, said: Sequence[Column] | None, trees: tuple[int, int] | None = None
    ) -> None:
        self._booster = booster
        self.library = f"xgboost {xgboost.__version__}"
        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
        columns = _list_columns(booster) if said is None else _match_columns(booster, said)
        columns = tuple(limit(column, "float32") for column in columns)  # XGBoost fails on an infinite one
        self.signature = Signature(columns=columns, answers=f"what Booster.predict answers ({objective})")
        # For a model that stopped early, the scikit-learn classes leave out the trees after the best one, and a Booster
        # does not. Only those classes leave a note in the saved file.
        best = booster.attr("best_iteration") if booster.attr("scikit_learn") is not None else None
        self._range = trees or ((0, int(best) + 1) if best is not None else (0, 0))

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        """See the port. A null is a missing value, as in training."""
        numbers = np.array([[np.nan if value is None else value for value in row] for row in rows], np.float32)
        data = xgboost.DMatrix(
            numbers, feature_names=self._booster.feature_names, feature_types=self._booster.feature_types
        )
        answers: list[Any] = self._booster.predict(data, iteration_range=self._range).tolist()
        return answers


def load_xgboost(folder: Path, paths: Sequence[str]) -> XGBoostModel:
    """Loads the only model file in `folder`. Raises: NotLoaded: it cannot be served."""
    path = find_xgboost_file(paths)
    if path is None:
        raise NotLoaded("there must be one file model/*.ubj, or model/model.json")
    return read_xgboost(folder, path)


def read_xgboost(folder: Path, path: str, columns: Sequence[Column] | None = None) -> XGBoostModel:
    """Loads the model in that file of `folder`, with the columns of a signature if there is one.

    Raises: NotLoaded: it cannot be served. OtherLibrary: a newer XGBoost saved it."""
    _check_version(folder / path, path)
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(folder / path)
    except (xgboost.core.XGBoostError, ValueError, TypeError) as err:
        raise NotLoaded(f"{path}: XGBoost {xgboost.__version__} does not read it: {shorten(err)}") from err
    try:
        return XGBoostModel(booster, columns)
    except (xgboost.core.XGBoostError, KeyError, ValueError, TypeError) as err:
        raise NotLoaded(f"{path}: it is not a complete model: {shorten(err)}") from err


def _check_version(file: Path, path: str) -> None:
    """Refuses a newer version's file, which XGBoost would read without a warning, and perhaps answer differently."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        saved = read_xgboost_version(opened.read(_TAIL_BYTES))
    check_not_newer(path, "XGBoost", saved, xgboost.__version__)


def _list_columns(booster: xgboost.Booster) -> tuple[Column, ...]:
    """Returns the columns by their names in training, else f0, f1, ... as in XGBoost."""
    return tuple(Column(name=name, type=_TYPES[type_], may_be_missing=True) for name, type_ in _list_features(booster))


def _match_columns(booster: xgboost.Booster, said: Sequence[Column]) -> tuple[Column, ...]:
    """Returns a signature's columns in the order of the training, or in its own if the training had no names."""
    names = [name for name, _ in _list_features(booster)]
    if booster.feature_names is None and len(said) == len(names):
        names = [column.name for column in said]
    if problems := find_column_problems(said, names):
        raise NotLoaded(*problems)
    by_name = {column.name: column for column in said}
    return tuple(by_name[name] for name in names)


def _list_features(booster: xgboost.Booster) -> list[tuple[str, str]]:
    """Returns the name and type of each feature."""
    count = booster.num_features()
    names = booster.feature_names or [f"f{number}" for number in range(count)]
    types = booster.feature_types or ["float"] * count
    if not count or len(names) != count or len(types) != count or len(set(names)) != count:
        raise NotLoaded(f"it has {count:,} columns, {len(names):,} names for them, and {len(types):,} types")
    if unknown := [name for name, type_ in zip(names, types, strict=True) if type_ not in _TYPES]:
        raise NotLoaded(f"columns of categories are not served; these are some: {', '.join(unknown[:5])}")
    return list(zip(names, types, strict=True))
