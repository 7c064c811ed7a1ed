"""Equal scores: the answer is the same on every machine, and as the trainer ranks them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from switchyard.clients.scoring.open import open_recommender


def write_tower(folder: Path, name: str, letter: str, vectors: list[list[float]]) -> None:
    flat = pa.array(np.array(vectors, np.float32).ravel())
    ids = [f"{letter}{row}" for row in range(len(vectors))]
    table = pa.table({"id": ids, "embedding": pa.FixedSizeListArray.from_arrays(flat, len(vectors[0]))})
    (folder / "embeddings").mkdir(exist_ok=True)
    pa_parquet.write_table(table, folder / "embeddings" / f"{name}.parquet")


@pytest.mark.parametrize("k", [1, 2, 3, 5, 40, 199, 200])
def test_equal_scores_are_answered_in_the_catalogue_s_order(tmp_path: Path, k: int) -> None:
    """Also at the answer's end, where some of the equal ones are left out: the first stay."""
    scores = np.random.default_rng(k).integers(0, 4, 200)
    write_tower(tmp_path, "query", "b", [[1.0]])
    write_tower(tmp_path, "candidate", "p", [[float(score)] for score in scores])
    expected = sorted(range(200), key=lambda product: (-scores[product], product))[:k]
    assert open_recommender(tmp_path).recommend("b0", k).product_ids == tuple(f"p{product}" for product in expected)
