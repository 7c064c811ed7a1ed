"""What a finished training leaves for others: a SavedModel that answers a buyer's best products, and both towers'
embeddings as Parquet. Written to a local folder; the run's folder takes it from there.

``model/`` has one signature, ``serving_default``: ``buyer_ids`` [batch] text -> ``product_ids`` [batch, k] text, best
first, ``scores`` [batch, k] float32, and ``known`` [batch] bool. A known buyer's scores are cosines; one who is not in
the train data gets the most bought products, with their share of all purchases as scores.

``embeddings/query.parquet`` and ``embeddings/candidate.parquet``: ``id`` text and ``embedding``, a list of `dim`
float32, of unit length; the product of two is the score.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import tensorflow as tf

from trainer.data.splitting import Dataset
from trainer.model.evaluation import Floats


def export_model(dataset: Dataset, query: Floats, candidate: Floats, *, top_k: int, folder: Path) -> None:
    """Writes ``model/`` below `folder`, from unit vectors [buyers, dim] and [products, dim]."""
    module = _TopProducts(dataset, query, candidate, top_k)
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": module.answer})


def export_embeddings(dataset: Dataset, query: Floats, candidate: Floats, *, folder: Path) -> None:
    """Writes ``embeddings/`` below `folder`, from unit vectors [buyers, dim] and [products, dim]."""
    (folder / "embeddings").mkdir(parents=True)
    for name, ids, vectors in (("query", dataset.buyer_ids, query), ("candidate", dataset.product_ids, candidate)):
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
        embedding = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        table = pa.table({"id": ids, "embedding": embedding})
        pa_parquet.write_table(table, folder / "embeddings" / f"{name}.parquet")


class _TopProducts(tf.Module):  # type: ignore[misc, unused-ignore]
    """The exported graph with its tables."""

    def __init__(self, dataset: Dataset, query: Floats, candidate: Floats, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        buyer_ids = tf.constant(dataset.buyer_ids.to_pylist())
        positions = tf.range(len(dataset.buyer_ids), dtype=tf.int64)
        self.buyers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(buyer_ids, positions), -1)
        self.product_ids = tf.constant(dataset.product_ids.to_pylist())
        self.query = tf.Variable(query, trainable=False)
        self.candidate = tf.Variable(candidate, trainable=False)
        popular = np.argsort(-dataset.product_counts, kind="stable")[:top_k]
        self.popular = tf.constant(popular)
        self.shares = tf.constant((dataset.product_counts / dataset.product_counts.sum())[popular], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="buyer_ids")])
    def answer(self, buyer_ids: Any) -> dict[str, Any]:
        """See the module's description of the signature."""
        positions = self.buyers.lookup(buyer_ids)
        known = positions >= 0
        vectors = tf.gather(self.query, tf.maximum(positions, 0))
        scores, products = tf.math.top_k(tf.matmul(vectors, self.candidate, transpose_b=True), self.top_k)
        products = tf.where(known[:, None], tf.cast(products, tf.int64), self.popular[None, :])
        return {
            "product_ids": tf.gather(self.product_ids, products),
            "scores": tf.where(known[:, None], scores, self.shares[None, :]),
            "known": known,
        }
