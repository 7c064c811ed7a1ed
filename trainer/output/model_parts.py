"""Reads the files of an exported model to put them into its MLflow run, and makes the digest that names them there."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import NotFound

MODEL_FOLDER: Final = "model"
MODEL_TAG: Final = "switchyard.model"
"""The tag of an MLflow run with `to_digest` of the model under its ``model/``; set once all files are there."""
_CHUNK_BYTES: Final = 1 << 20


class ModelPart(msgspec.Struct, frozen=True):
    """One file of the model: its path in the model, where it is on this machine, and its SHA-256 in hex."""

    path: str
    file: Path
    sha256: str


def fetch_model(model_uri: str, folder: Path) -> list[ModelPart]:
    """Copies the model to `folder`, file by file, and returns its files by path.

    Raises: NotFound: there is no model; what reading objects raises."""
    objects, found = open_objects(model_uri, retries_itself=True), []
    for number, uri in enumerate(objects.list(f"{model_uri}/")):
        file = folder / f"{number}"  # the store's names may not be allowed on this disk
        with file.open("wb") as opened:
            objects.read_into(uri, opened)
        found.append(ModelPart(uri.removeprefix(f"{model_uri}/"), file, _hash(file)))
    if not found:
        raise NotFound(f"expected a model in {model_uri}; there is none")
    return found


def to_digest(files: Sequence[ModelPart]) -> str:
    """Returns the model's digest, which is equal only for the same paths and contents."""
    lines = [f"{part.sha256}  {part.path}\n" for part in sorted(files, key=lambda part: part.path)]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _hash(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while data := opened.read(_CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()
