"""Models of rows whose trouble is said by the test (`planted/__main__.py`), in processes of their own."""

import json
from pathlib import Path
from typing import Any

from serving.predictions.loader_process import Bounds, LoaderProcess, RowLoader
from switchyard.clients.objects.open import open_objects
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.rows import ModelVersion
from switchyard.services.registering import read_manifest
from tests.predicting import register_folder
from tests.serving.predictions.world import World

PLANTED = RowLoader(module="tests.serving.predictions.planted")
HASTY = RowLoader(module=PLANTED.module, bounds=Bounds(answer_s=1.0))
"""Waits for an answer no longer than a second; for models that hang."""
HASTY_TO_LOAD = RowLoader(module=PLANTED.module, bounds=Bounds(load_s=1.0))


def write_planted(folder: Path, **said: Any) -> Path:
    """A folder of the flavor xgboost that no XGBoost reads: `load` and `answer` say what goes wrong, and where."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.json").write_text(json.dumps(said))
    return folder


def add_planted(world: World, number: int, name: str = "shop", **said: Any) -> ModelVersion:
    """The next version of a model, planted."""
    return register_folder(world.place.models, write_planted(world.folder(number), **said), name)


def open_planted(folder: Path, loader: RowLoader = PLANTED, **said: Any) -> LoaderProcess:
    """Its process, loaded from a new folder."""
    uri = write_planted(folder / "files", **said).as_uri()
    manifest: Manifest = read_manifest(open_objects(uri), uri, "a planted model")
    return loader(folder / "files", manifest, "the planted model")
