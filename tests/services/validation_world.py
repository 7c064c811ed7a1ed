"""A shop whose buyers have tastes: models that know them, or do not, as registered versions; what is bought later."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from switchyard.clients.objects.open import open_objects
from switchyard.clients.scoring.open import open_recommender
from switchyard.core.ports import Models, Recommender
from switchyard.core.registry.rows import Lineage, ModelVersion, NewVersion
from switchyard.services.registering import read_manifest

Floats = np.ndarray[Any, np.dtype[Any]]
BUYERS, PRODUCTS, DIM = 80, 40, 6
NAME = "shop"
UNTIL = "2026-01-31T12:00:00+00:00"


def to_ids(letter: str, many: int) -> list[str]:
    return [f"{letter}{number}" for number in range(many)]


def write_model(folder: Path, buyers: Sequence[str], products: Sequence[str], query: Floats, candidate: Floats) -> None:
    """What the trainer's export leaves of its towers."""
    (folder / "embeddings").mkdir(parents=True)
    for name, ids, vectors in (("query", buyers, query), ("candidate", products, candidate)):
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
        table = pa.table({"id": list(ids), "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
        pa_parquet.write_table(table, folder / "embeddings" / f"{name}.parquet")


def open_model(folder: Path) -> Recommender:
    return open_recommender(folder)


class Shop:
    """Tastes, and versions in the registry that know them up to some noise."""

    def __init__(self, models: Models, folder: Path) -> None:
        self.models, self.folder = models, folder
        rng = np.random.default_rng(1)
        self.tastes, self.traits = (rng.normal(size=(rows, DIM)) for rows in (BUYERS, PRODUCTS))

    def register(
        self,
        number: int,
        *,
        noise: float = 0.0,
        seed: int = 0,
        buyers: int = BUYERS,
        products: int = PRODUCTS,
        letter: str = "p",
        trained_until: str = UNTIL,
        parameters: dict[str, Any] | None = None,
        add: Callable[[Path], None] | None = None,
    ) -> ModelVersion:
        """Registers the next version, which must have the number `number`.

        It knows the first `buyers` and `products`, whose ids begin with `letter`. `add` writes more into its folder."""
        rng = np.random.default_rng(seed)
        query, candidate = (true + noise * rng.normal(size=true.shape) for true in (self.tastes, self.traits))
        own = self.folder / f"run {number}"
        write_model(own, to_ids("b", buyers), to_ids(letter, products), query[:buyers], candidate[:products])
        if add:
            add(own)
        manifest = read_manifest(open_objects(own.as_uri()), own.as_uri(), "here")
        made = self.models.register(
            NewVersion(
                name=NAME,
                source_key=f"run:{number}",
                source_uri=own.as_uri(),
                manifest=manifest,
                lineage=Lineage(trained_until=trained_until, parameters=parameters or {"data_uri": ""}),
            )
        ).version
        assert made.version == number
        return made

    def list_purchases(self, *, a_buyer: int = 3, day: str = "2026-02-02") -> dict[str, list[Any]]:
        """What each buyer likes best of all, as the columns of a file; none of it before `day`."""
        scores = self.tastes @ self.traits.T
        best = np.argsort(-scores, axis=1)[:, :a_buyer]
        rows = [(f"b{buyer}", f"p{product}") for buyer in range(BUYERS) for product in best[buyer]]
        return {
            "customer_id": [buyer for buyer, _ in rows],
            "stock_code": [product for _, product in rows],
            "invoice_date": [f"{day} 10:00:{row % 60:02}" for row in range(len(rows))],
        }

    def write(self, columns: dict[str, list[Any]], name: str = "new.csv") -> str:
        """The columns as a CSV file; its URI."""
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path.as_uri()
