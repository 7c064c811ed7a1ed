"""Two-tower models on a disk and in a registry, for tests and benchmarks of predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from switchyard.clients.objects.open import open_objects
from switchyard.core.ports import Models
from switchyard.core.registry.rows import ModelVersion, NewVersion, Promotion
from switchyard.services.registering import read_manifest


def write_tower(path: Path, ids: Sequence[str], vectors: Any) -> None:
    """A file of `embeddings/`, as the trainer writes it, from vectors [rows, dim]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    embedding = pa.FixedSizeListArray.from_arrays(flat, np.shape(vectors)[1])
    pa_parquet.write_table(pa.table({"id": pa.array(ids, pa.string()), "embedding": embedding}), path)


def write_model(folder: Path, *, products: int = 30, buyers: int = 10, dim: int = 8, seed: int = 1) -> Path:
    """A whole two-tower model: buyers b0, b1, ..., products p0, p1, ...; another seed gives other vectors."""
    draw = np.random.default_rng(seed)
    for name, kind, count in (("query", "b", buyers), ("candidate", "p", products)):
        vectors = draw.normal(size=(count, dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        write_tower(folder / "embeddings" / f"{name}.parquet", [f"{kind}{row}" for row in range(count)], vectors)
    return folder


def write_score(folder: Path, tables: Mapping[str, Any], weights: str = "") -> None:
    """Files of `score/`: tables by name, and the text of weights.json."""
    (folder / "score").mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pa_parquet.write_table(table, folder / "score" / f"{name}.parquet")
    if weights:
        (folder / "score" / "weights.json").write_text(weights)


def register_folder(models: Models, folder: Path, name: str = "shop") -> ModelVersion:
    """The next version of a model, with the files of `folder`."""
    uri = folder.as_uri()
    manifest = read_manifest(open_objects(uri), uri, "a test's model")
    return models.register(NewVersion(name=name, source_key=uri, source_uri=uri, manifest=manifest)).version


def promote(models: Models, version: ModelVersion) -> None:
    """Makes it champion, whichever version was."""
    expected = models.read_model(version.name).production
    models.promote(
        Promotion(name=version.name, version=version.version, expected=expected, force=bool(expected), reason="a test")
    )
