"""Keras' own formats, `.keras` and `.h5`; what a file contains is checked before Keras is imported to read it."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import h5py

from serving.predictions.loaders.arrays import TensorModel
from serving.predictions.loaders.loading import NotLoaded, shorten
from switchyard.core.predictions.keras_config import find_config_problems
from switchyard.core.predictions.signature import Column
from switchyard.core.registry.flavors import find_keras_file

MAX_CONFIG_BYTES: Final = 100_000_000


def load_keras(folder: Path, paths: Sequence[str], tokenizer: str = "") -> TensorModel:
    """Loads the only model file in `folder`. Raises: NotLoaded: it cannot be served."""
    path = find_keras_file(paths)
    if path is None:
        raise NotLoaded("there must be one file model/*.keras, or one model/*.h5")
    return read_keras(folder, paths, path, tokenizer=tokenizer)


def read_keras(
    folder: Path, paths: Sequence[str], path: str, said: Sequence[Column] | None = None, *, tokenizer: str = ""
) -> TensorModel:
    """Loads the model in that file of `folder`, with the columns of a signature if there is one.

    Raises: NotLoaded: it cannot be served."""
    try:
        config, saved_with = _read_config(folder / path)
    except MemoryError:
        raise
    except Exception as err:
        raise NotLoaded(f"{path}: it is not a complete Keras file: {shorten(err)}") from err
    if problems := find_config_problems(config):
        raise NotLoaded(*(f"{path}: {problem}" for problem in problems))
    from serving.predictions.loaders.keras_model import open_keras  # it takes seconds to be imported

    return open_keras(folder, paths, path, said, saved_with, tokenizer)


def _read_config(path: Path) -> tuple[Any, str]:
    """Returns the model's configuration, and the version of Keras that saved it; empty: it does not say."""
    if path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            said = file.attrs.get("model_config")
            if said is None:
                raise ValueError("it has only weights. Save the whole model: model.save")
            return json.loads(_to_text(said)), _to_text(file.attrs.get("keras_version", ""))
    with zipfile.ZipFile(path) as archive:
        if assets := [name for name in archive.namelist() if name.startswith("assets/")]:
            raise ValueError(
                f"it has files inside ({assets[0][:200]}), and Keras writes them to a disk to read them, which no "
                "loader may. Save it as a SavedModel: model.export(...)"
            )
        return _read_json(archive, "config.json"), str(_read_json(archive, "metadata.json").get("keras_version", ""))


def _read_json(archive: zipfile.ZipFile, name: str) -> Any:
    size = archive.getinfo(name).file_size
    if size > MAX_CONFIG_BYTES:
        raise ValueError(f"{name} must have at most {MAX_CONFIG_BYTES:,} bytes; it has {size:,}")
    return json.loads(archive.read(name))


def _to_text(said: Any) -> str:
    return said.decode() if isinstance(said, bytes) else str(said)
