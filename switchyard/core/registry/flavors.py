"""What kind of model a version is, told by its files: it says which loader can read it."""

from collections.abc import Iterable
from typing import Final

TWO_TOWER: Final = "two-tower"
MLFLOW: Final = "mlflow"


def choose_flavor(paths: Iterable[str]) -> str:
    """The flavor of a version with these files; empty: unknown.

    >>> choose_flavor(["embeddings/products.parquet", "model/saved_model.pb"])
    'two-tower'
    >>> choose_flavor(["model/MLmodel", "model/data/model.keras"])
    'mlflow'
    """
    listed = list(paths)
    if any(path.startswith("embeddings/") for path in listed):
        return TWO_TOWER
    return MLFLOW if "model/MLmodel" in listed else ""
