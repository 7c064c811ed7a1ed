"""The training step as it was before distinct rows and many steps a call: what `tests.bench.step` measures against."""

from collections.abc import Mapping

import tensorflow as tf

from trainer.model.towers import TwoTower, to_unit


class RowByRow(TwoTower):
    """Takes each row of a batch for itself: gathered, scored against all rows, and its gradient summed afterwards."""

    def train_step(self, data: tuple[tf.Tensor, ...]) -> Mapping[str, tf.Tensor]:
        """One update from one batch."""
        buyers, products = data[:2]
        with tf.GradientTape() as tape:
            query, candidate = self.query_tower(buyers), self.candidate_tower(products)
            loss = self.softmax(to_unit(query), to_unit(candidate), products, tf.gather(self.log_q.value, products))
            rows = tf.cast(tf.shape(buyers)[0], query.dtype)
            penalty = self.l2 * 2.0 * (tf.nn.l2_loss(query) + tf.nn.l2_loss(candidate)) / rows
            total = loss + penalty
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(total, weights), weights, strict=True))
        return self._log(loss, penalty)
