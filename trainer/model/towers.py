"""The model: a query tower for buyers and a candidate tower for products; the score is their vectors' cosine."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from trainer.model.calls import Pace, run_steps
from trainer.model.losses import Distinct, InBatchSoftmax, find_distinct
from trainer.model.optimizers import UniqueRows


@keras.saving.register_keras_serializable("switchyard")
class Tower(keras.layers.Layer):
    """One trained vector per id: positions [batch] -> vectors [batch, dim], not yet of unit length.

    Args:
        rows: how many ids there are; positions are 0..rows-1.
        dim: the width of the vectors.
    """

    def __init__(self, rows: int, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows = rows
        self.dim = dim

    def build(self, input_shape: Any = None) -> None:
        """Makes the table [rows, dim], with vectors of about unit length.

        Only a vector's direction is used, and a step of the same size turns a shorter vector further."""
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.rows, self.dim),
            initializer=keras.initializers.RandomNormal(stddev=self.dim**-0.5),
        )
        self.built = True

    def call(self, positions: tf.Tensor) -> tf.Tensor:
        """Returns the vectors [batch, dim] of `positions` [batch], whole numbers.

        Raises:
            ValueError: the shape is not [batch], or the numbers are not whole.
        """
        if positions.shape.rank != 1 or not positions.dtype.is_integer:
            raise ValueError(
                f"tower {self.name} expects whole numbers of shape [batch]; "
                f"received {positions.dtype.name} of shape {positions.shape}"
            )
        return tf.gather(self.embeddings.value, positions)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` makes the same layer from."""
        return {**super().get_config(), "rows": self.rows, "dim": self.dim}


def to_unit(vectors: tf.Tensor) -> tf.Tensor:
    """Returns `vectors` [n, dim] scaled to length 1; a zero vector stays zero."""
    return tf.math.l2_normalize(vectors, axis=-1)


LOSS_NAMES = ("loss", "regularization_loss", "total_loss")


@keras.saving.register_keras_serializable("switchyard")
class TwoTower(keras.Model):
    """Both towers and their training; `fit` takes batches of purchases: buyers [batch] and products [batch].

    `fit` also takes stacks of batches, [steps, batch], and trains on them one after the other in one call; to Keras a
    stack is one batch.

    It logs ``loss`` (only the softmax), ``regularization_loss``, and ``total_loss``, their sum, which is minimised.
    The L2 penalty is ``l2`` times the batch's mean of both vectors' squared lengths. It covers only the batch's rows: a
    penalty on whole tables would touch each row in each step, at many times the step's cost.

    Args:
        buyers, products, dim: the tables' sizes.
        temperature: see `InBatchSoftmax`.
        l2: weight of the penalty, >= 0.
    """

    def __init__(
        self, *, buyers: int, products: int, dim: int, temperature: float, l2: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**{"name": "two_tower", **kwargs})
        self.sizes = {"buyers": buyers, "products": products, "dim": dim}
        self.l2 = l2
        self.query_tower = Tower(buyers, dim, name="query_tower")
        self.candidate_tower = Tower(products, dim, name="candidate_tower")
        self.softmax = InBatchSoftmax(temperature, name="softmax")
        self.pace: Pace | None = None  # of the current `fit`, if it is on stacks
        self.is_first_of_call: bool | None = None  # whether the step being traced is a stack's first; else None
        # What `_log` returned after each step of the last stack, [steps, 3]; for a single batch Keras has it.
        self._call_logs = tf.Variable(tf.zeros([0, len(LOSS_NAMES)]), shape=[None, len(LOSS_NAMES)], trainable=False)
        self.means = {name: keras.metrics.Mean(name=name) for name in ("loss", "regularization_loss")}
        self.log_q = self.add_weight(name="log_q", shape=(products,), initializer="zeros", trainable=False)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Makes both tables at once, so that callbacks find the weights before the first batch."""
        self.query_tower.build()
        self.candidate_tower.build()
        self.softmax.built = True
        self.built = True

    def correct_for(self, product_counts: Any) -> None:
        """Sets the logQ correction from how often each product is among the rows to train on, [products]."""
        counts = tf.cast(product_counts, tf.float32)
        self.log_q.assign(tf.math.log(counts / tf.reduce_sum(counts)))

    def call(self, buyers: tf.Tensor) -> tf.Tensor:
        """Returns the buyers' unit vectors, [batch, dim]; the score is their product with those of the candidates."""
        return to_unit(self.query_tower(buyers))

    def read_vectors(self) -> tuple[Any, Any]:
        """Returns all unit vectors as arrays: the buyers' [buyers, dim] and the products' [products, dim]."""
        towers = (self.query_tower, self.candidate_tower)
        query, candidate = (to_unit(tower.embeddings.value).numpy() for tower in towers)
        return query, candidate

    def compute_losses(self, buyers: tf.Tensor, products: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the softmax loss and the penalty of a batch, two scalars."""
        distinct = find_distinct(buyers), find_distinct(products)
        return self._compare(*distinct, self.query_tower(distinct[0].ids), self.candidate_tower(distinct[1].ids))

    def _compare(
        self, buyers: Distinct, products: Distinct, query: tf.Tensor, candidate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Does the work of `compute_losses`, from the distinct ids' vectors [distinct, dim]."""
        log_q = tf.gather(self.log_q.value, products.ids)
        loss = self.softmax.compare_distinct(to_unit(query), to_unit(candidate), buyers, products, log_q)
        squares = [
            tf.reduce_sum(tf.square(vectors) * mentions[:, None])
            for vectors, mentions in ((query, buyers.mentions), (candidate, products.mentions))
        ]
        rows = tf.cast(tf.size(buyers.place), query.dtype)
        return loss, self.l2 * tf.add_n(squares) / rows

    def train_step(self, data: tuple[tf.Tensor, ...]) -> Mapping[str, tf.Tensor]:
        """Makes one update from one batch, or from each batch of a stack."""
        buyers, products = data[:2]
        if buyers.shape.rank == 1:
            return self._update(buyers, products)
        try:
            logs = run_steps(self._update, [buyers, products], tell_first=self._tell_first)
        finally:
            self.is_first_of_call = None
        self._call_logs.assign(tf.stack([logs[name] for name in LOSS_NAMES], axis=1))
        return {name: values[-1] for name, values in logs.items()}

    def _tell_first(self, is_first: bool) -> None:
        self.is_first_of_call = is_first

    def read_call_logs(self) -> list[dict[str, float]]:
        """Returns the logs after each step of the last stack, means over the epoch so far; empty before the first."""
        return [dict(zip(LOSS_NAMES, map(float, row), strict=True)) for row in self._call_logs.numpy()]

    def _update(self, buyer_ids: tf.Tensor, product_ids: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Makes one step.

        Each row that the batch names is read once, so its gradient is already the sum over all mentions."""
        buyers, products = find_distinct(buyer_ids), find_distinct(product_ids)
        vectors = [self.query_tower(buyers.ids), self.candidate_tower(products.ids)]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(vectors)
            loss, penalty = self._compare(buyers, products, *vectors)
            total = loss + penalty
        weights = self.trainable_weights
        gradients = [
            UniqueRows(values, distinct.ids, tf.constant(list(weight.shape)))
            for values, distinct, weight in zip(tape.gradient(total, vectors), (buyers, products), weights, strict=True)
        ]
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return self._log(loss, penalty)

    def test_step(self, data: tuple[tf.Tensor, ...]) -> Mapping[str, tf.Tensor]:
        """Returns the losses of one batch, and changes nothing."""
        return self._log(*self.compute_losses(*data[:2]))

    def _log(self, loss: tf.Tensor, penalty: tf.Tensor) -> Mapping[str, tf.Tensor]:
        self.means["loss"].update_state(loss)
        self.means["regularization_loss"].update_state(penalty)
        results = {name: mean.result() for name, mean in self.means.items()}
        # The sum of the two means, not a third mean: TensorFlow's graph optimizer would merge ``sum += loss + penalty``
        # into one sum of three, in an order that differs between processes, and so would the last digit.
        return {**results, "total_loss": results["loss"] + results["regularization_loss"]}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics, which Keras resets at the start of each epoch and each evaluation."""
        return list(self.means.values())

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` makes the same model from; the logQ correction is among the weights."""
        return {**super().get_config(), **self.sizes, "temperature": self.softmax.temperature, "l2": self.l2}
