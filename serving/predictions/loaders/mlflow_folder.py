"""A folder as MLflow's `log_model` writes it: `MLmodel` says which of our loaders reads which file. MLflow is not
needed, and nothing that the file names is imported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from serving.predictions.loaders.loading import LoadedRows, NotLoaded
from switchyard.core.predictions.mlmodel import MAX_BYTES, NotServed, read_mlmodel
from switchyard.core.predictions.pickles import say_pickle
from switchyard.core.registry.flavors import SKLEARN

_FOLDER: Final = "model"


def load_mlflow(folder: Path, paths: Sequence[str], pickles: Sequence[str] = ()) -> LoadedRows:
    """The model that `model/MLmodel` describes. Raises: NotLoaded: it describes none that can be served."""
    try:
        said = read_mlmodel(_read_yaml(folder / _FOLDER / "MLmodel"))
    except NotServed as err:
        raise NotLoaded(str(err)) from err
    path = f"{_FOLDER}/{said.path}"
    if path not in paths:  # no other file was hashed
        raise NotLoaded(f"MLmodel names the file {said.path[:200]!r}, which is not one of the version's files")
    if said.is_pickle:
        if path not in pickles:
            raise NotLoaded(f"MLmodel: {say_pickle(path)}")
        from serving.predictions.loaders.pickle_files import read_sklearn_pickle
        from serving.predictions.loaders.sklearn_files import SklearnModel

        return SklearnModel(read_sklearn_pickle(folder / path), said.columns, said.predict_fn)
    if said.flavor == SKLEARN:
        from serving.predictions.loaders.sklearn_files import read_sklearn

        return read_sklearn(folder, path, said.columns, said.predict_fn)
    from serving.predictions.loaders.xgboost_files import read_xgboost

    return read_xgboost(folder, path, said.columns)


def _read_yaml(path: Path) -> Any:
    """Raises: NotServed: no YAML that is data alone."""
    data = path.read_bytes()
    if len(data) > MAX_BYTES:
        raise NotServed(f"MLmodel must have at most {MAX_BYTES:,} bytes; it has {len(data):,}")
    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError) as err:
        raise NotServed(f"MLmodel: it is no YAML that is data alone: {str(err).splitlines()[0]}") from err
