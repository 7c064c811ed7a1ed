"""A folder as MLflow's `log_model` writes it: `MLmodel` says which of our loaders reads which file.

MLflow is not needed, and nothing that the file names is imported.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from serving.predictions.loaders.loading import LoadedRows, NotLoaded
from switchyard.core.predictions.mlmodel import MAX_BYTES, MLmodel, NotServed, read_mlmodel
from switchyard.core.predictions.pickles import say_pickle
from switchyard.core.registry.flavors import (
    KERAS,
    SAVED_MODEL,
    SKLEARN,
    TENSORFLOW,
    find_pickled_tokenizers,
    find_tensor_files,
)

_FOLDER: Final = "model"


def load_mlflow(folder: Path, paths: Sequence[str], pickles: Sequence[str] = (), tokenizer: str = "") -> LoadedRows:
    """Loads the model that `model/MLmodel` describes. Raises: NotLoaded: it cannot be served."""
    try:
        said = read_mlmodel(_read_yaml(folder / _FOLDER / "MLmodel"))
    except NotServed as err:
        raise NotLoaded(str(err)) from err
    model = _load(folder, paths, said, pickles, tokenizer)
    if said.answers:
        answers = f"{model.signature.answers}; MLflow's own server answers, by the signature: {said.answers}"
        model.signature = msgspec.structs.replace(model.signature, answers=answers)
    return model


def _load(
    folder: Path, paths: Sequence[str], said: MLmodel, pickles: Sequence[str] = (), tokenizer: str = ""
) -> LoadedRows:
    path = f"{_FOLDER}/{said.path}"
    if said.flavor in (KERAS, TENSORFLOW):
        return _load_tensors(folder, paths, path, said, tokenizer)
    if path not in paths:  # no other file was hashed
        raise NotLoaded(f"MLmodel names the file {said.path[:200]!r}, which is not one of the version's files")
    if said.is_pickle:
        if path not in pickles:
            with (folder / path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            raise NotLoaded(f"MLmodel: {say_pickle(path, digest)}")
        from serving.predictions.loaders.pickle_files import read_sklearn_pickle
        from serving.predictions.loaders.sklearn_files import SklearnModel

        return SklearnModel(read_sklearn_pickle(folder / path), said.columns, said.predict_fn)
    if said.flavor == SKLEARN:
        from serving.predictions.loaders.sklearn_files import read_sklearn

        return read_sklearn(folder, path, said.columns, said.predict_fn)
    from serving.predictions.loaders.xgboost_files import read_xgboost

    return read_xgboost(folder, path, said.columns)


def _load_tensors(folder: Path, paths: Sequence[str], path: str, said: MLmodel, tokenizer: str) -> LoadedRows:
    """Loads what is in the folder that MLmodel names: both flavors may have any of the three formats."""
    if pickled := find_pickled_tokenizers(paths):
        raise NotLoaded(*(f"MLmodel: {say_pickle(each)}" for each in pickled))
    found = find_tensor_files(path, paths)
    if len(found) != 1:
        raise NotLoaded(
            f"the folder {said.path[:200]!r} that MLmodel names must have one of model.keras, model.h5 and "
            f"saved_model.pb among the version's files; it has {', '.join(found) or 'none of them'}"
        )
    if found[0].endswith(SAVED_MODEL):
        from serving.predictions.loaders.saved_model import read_saved_model

        return read_saved_model(folder, paths, found[0], said.columns, tokenizer=tokenizer)
    from serving.predictions.loaders.keras_files import read_keras

    return read_keras(folder, paths, found[0], said.columns, tokenizer=tokenizer)


def _read_yaml(path: Path) -> Any:
    """Reads YAML that holds only data. Raises: NotServed: it is something else."""
    data = path.read_bytes()
    if len(data) > MAX_BYTES:
        raise NotServed(f"MLmodel must have at most {MAX_BYTES:,} bytes; it has {len(data):,}")
    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError) as err:
        raise NotServed(f"MLmodel: it is not YAML with only data: {str(err).splitlines()[0]}") from err
