"""Exports a finished training: a SavedModel that answers a buyer's best products, and both towers' embeddings.

The files are written to a local folder; `trainer.output.run_folder` copies them from there.

``model/`` has one signature, ``serving_default``: ``buyer_ids`` [batch] text -> ``product_ids`` [batch, k] text, best
first, ``scores`` [batch, k] float32, and ``known`` [batch] bool. A known buyer's scores are cosines. A buyer who is not
in the train data gets the most bought products, with their share of all purchases as scores. With a blend, a known
buyer's scores are the blended ones, and other buyers get what sold recently if that is a term of the score.

``embeddings/query.parquet`` and ``embeddings/candidate.parquet``: ``id`` text and ``embedding``, a list of `dim`
float32, of unit length. The product of two embeddings is the score, or with a blend the cosine in it.

``score/``, only with a blend: the files from which `switchyard.clients.scoring.score_files` answers as ``model/`` does.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import tensorflow as tf

from trainer.data.splitting import Dataset
from trainer.model.blending import Blend
from trainer.model.evaluation import Floats


def export_model(
    dataset: Dataset, query: Floats, candidate: Floats, *, top_k: int, folder: Path, blend: Blend | None = None
) -> None:
    """Writes ``model/`` below `folder`, from unit vectors [buyers, dim] and [products, dim]."""
    if blend is None:
        module = _TopProducts(dataset, query, candidate, top_k, dataset.product_counts / dataset.product_counts.sum())
    else:
        module = _BlendedProducts(dataset, query, candidate, top_k, blend)
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": module.answer})


def export_embeddings(dataset: Dataset, query: Floats, candidate: Floats, *, folder: Path) -> None:
    """Writes ``embeddings/`` below `folder`, from unit vectors [buyers, dim] and [products, dim]."""
    (folder / "embeddings").mkdir(parents=True)
    for name, ids, vectors in (("query", dataset.buyer_ids, query), ("candidate", dataset.product_ids, candidate)):
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
        embedding = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        table = pa.table({"id": ids, "embedding": embedding})
        pa_parquet.write_table(table, folder / "embeddings" / f"{name}.parquet")


def export_score(dataset: Dataset, blend: Blend, *, folder: Path) -> None:
    """Writes ``score/`` below `folder`: the weights, the products' priors and recent shares, and the purchases."""
    (folder / "score").mkdir(parents=True)
    (folder / "score" / "weights.json").write_bytes(msgspec.json.encode(blend.weights))
    past = blend.past
    if blend.has_prior:
        prior = {"product": dataset.product_ids, "prior": blend.prior, "share": blend.popularity}
        pa_parquet.write_table(pa.table(prior), folder / "score" / "prior.parquet")
    buyers = np.repeat(np.arange(len(past.starts) - 1), np.diff(past.starts))
    purchases = {
        "buyer": dataset.buyer_ids.take(pa.array(buyers)),
        "product": dataset.product_ids.take(pa.array(past.places)),
        "count": past.counts,
        "last_at": pa.array(past.last_us).cast(pa.timestamp("us", "UTC")),
    }
    pa_parquet.write_table(pa.table(purchases), folder / "score" / "purchases.parquet")


class _TopProducts(tf.Module):  # type: ignore[misc, unused-ignore]
    """The exported graph and its tables."""

    def __init__(self, dataset: Dataset, query: Floats, candidate: Floats, top_k: int, shares: Any) -> None:
        super().__init__()
        self.top_k = top_k
        buyer_ids = tf.constant(dataset.buyer_ids.to_pylist())
        positions = tf.range(len(dataset.buyer_ids), dtype=tf.int64)
        self.buyers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(buyer_ids, positions), -1)
        self.product_ids = tf.constant(dataset.product_ids.to_pylist())
        self.query = tf.Variable(query, trainable=False)
        self.candidate = tf.Variable(candidate, trainable=False)
        popular = np.argsort(-shares, kind="stable")[:top_k]
        self.popular = tf.constant(popular)
        self.shares = tf.constant(shares[popular], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="buyer_ids")])
    def answer(self, buyer_ids: Any) -> dict[str, Any]:
        """See the module's description of the signature."""
        positions = self.buyers.lookup(buyer_ids)
        known = positions >= 0
        scores, products = tf.math.top_k(self.score(tf.maximum(positions, 0)), self.top_k)
        products = tf.where(known[:, None], tf.cast(products, tf.int64), self.popular[None, :])
        return {
            "product_ids": tf.gather(self.product_ids, products),
            "scores": tf.where(known[:, None], scores, self.shares[None, :]),
            "known": known,
        }

    def score(self, positions: Any) -> Any:
        """Returns the scores of all products, [batch, products], for the buyers at `positions` [batch]."""
        return tf.matmul(tf.gather(self.query, positions), self.candidate, transpose_b=True)


class _BlendedProducts(_TopProducts):
    """The exported graph with a blend's score.

    The prior is one more dimension of the vectors, so that an index of inner products could serve it. The repeat term
    is added only to products that the buyer has bought."""

    def __init__(self, dataset: Dataset, query: Floats, candidate: Floats, top_k: int, blend: Blend) -> None:
        terms = blend.terms
        if terms.bias is not None:
            query = np.concatenate([query, np.ones((len(query), 1), np.float32)], axis=1)
            candidate = np.concatenate([candidate, terms.bias[:, None]], axis=1)
        super().__init__(dataset, query, candidate, top_k, blend.popularity)
        self.has_repeats = terms.repeats is not None
        if self.has_repeats:  # else the graph would reveal purchases that it does not need
            self.starts = tf.Variable(terms.starts, trainable=False)
            self.places = tf.Variable(terms.places, trainable=False)
            self.repeats = tf.Variable(terms.repeats, trainable=False)

    def score(self, positions: Any) -> Any:
        """See the base class."""
        scores = super().score(positions)
        if not self.has_repeats:
            return scores
        starts = tf.gather(self.starts, positions)
        own = tf.ragged.range(starts, tf.gather(self.starts, positions + 1))
        index = tf.stack([tf.cast(own.value_rowids(), tf.int32), tf.gather(self.places, own.flat_values)], axis=1)
        return tf.tensor_scatter_nd_add(scores, index, tf.gather(self.repeats, own.flat_values))
