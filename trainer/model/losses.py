"""The loss that the towers are trained on: softmax cross-entropy among the products of a batch."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

MASKED_LOGIT = -1e9  # exp of it is 0 in float32, and unlike -inf it has a gradient of 0 rather than NaN


class Distinct(NamedTuple):
    """The distinct ids of a batch.

    Attributes:
        ids: [distinct], in the order in which the batch first names them.
        place: for each row of the batch, the position of its id in `ids`, [batch].
        mentions: how many rows name each id, [distinct], as floats.
    """

    ids: tf.Tensor
    place: tf.Tensor
    mentions: tf.Tensor


def find_distinct(ids: tf.Tensor) -> Distinct:
    """Returns the distinct ids of `ids`, whole numbers of shape [batch]."""
    distinct, place, mentions = tf.unique_with_counts(ids)
    return Distinct(distinct, place, tf.cast(mentions, tf.float32))


@keras.saving.register_keras_serializable("switchyard")
class InBatchSoftmax(keras.layers.Layer):
    """The mean cross-entropy of finding each buyer's own product among all products of the batch; a scalar.

    Row i's logits are ``<query_i, candidate_j> / temperature - log_q_j`` over j; the right answer is j = i. `log_q` is
    the log of how often product j is drawn into a batch: without it, popular products are punished for being drawn
    often as negatives. A j that is the same product as i ("accidental hit") is masked, because it is not wrong.

    Source: Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019,
    for the correction and the temperature. keras-rs 0.4's RemoveAccidentalHits is not used: it adds 1e-40.

    Args:
        temperature: above 0; the smaller, the more the nearest wrong answers count.
    """

    def __init__(self, temperature: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def call(self, query: tf.Tensor, candidate: tf.Tensor, products: tf.Tensor, log_q: tf.Tensor) -> tf.Tensor:
        """Returns the scalar loss of unit vectors `query` and `candidate` [batch, dim].

        `products` and `log_q` are [batch].

        Raises:
            ValueError: the shapes do not fit each other.
        """
        if query.shape.rank != 2 or not query.shape.is_compatible_with(candidate.shape):
            raise ValueError(
                "InBatchSoftmax expects query and candidate of one shape [batch, dim]; "
                f"received {query.shape} and {candidate.shape}"
            )
        if products.shape.rank != 1 or log_q.shape.rank != 1:
            raise ValueError(
                "InBatchSoftmax expects products and log_q of shape [batch]; "
                f"received {products.shape} and {log_q.shape}"
            )
        logits = tf.matmul(query / self.temperature, candidate, transpose_b=True) - log_q[None, :]
        batch = tf.shape(products)[0]
        same = tf.equal(products[:, None], products[None, :])
        accidental = tf.linalg.set_diag(same, tf.zeros([batch], tf.bool))
        logits = tf.where(accidental, MASKED_LOGIT, logits)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.range(batch), logits=logits)
        return tf.reduce_mean(losses)

    def compare_distinct(
        self, query: tf.Tensor, candidate: tf.Tensor, buyers: Distinct, products: Distinct, log_q: tf.Tensor
    ) -> tf.Tensor:
        """Returns what `call` returns for the whole batch, from the vectors of its distinct buyers and products.

        The unit vectors are [distinct buyers, dim] and [distinct products, dim], `log_q` is [distinct products].

        A product that k rows name is one column that counts k times, except in its own rows, where it counts once: the
        other k - 1 would be masked. So row i's sum over the batch is ``sum_j k_j e_ij - (k_i - 1) e_ii``, where e are
        the exponentials.
        """
        logits = tf.matmul(query / self.temperature, candidate, transpose_b=True) - log_q[None, :]
        logits -= tf.stop_gradient(tf.reduce_max(logits, axis=1, keepdims=True))
        exponentials = tf.exp(logits)
        cells = tf.stack([buyers.place, products.place], axis=1)
        own = tf.gather_nd(exponentials, cells)
        others = (tf.gather(products.mentions, products.place) - 1.0) * own
        sums = tf.gather(tf.linalg.matvec(exponentials, products.mentions), buyers.place) - others
        # Only rounding makes a sum smaller than `own`, if thousands of rows name it. nan stays: it compares as false.
        sums = tf.where(sums < own, own, sums)
        return tf.reduce_mean(tf.math.log(sums) - tf.gather_nd(logits, cells))

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` makes the same layer from."""
        return {**super().get_config(), "temperature": self.temperature}
