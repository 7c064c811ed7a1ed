"""Adagrad and Adam that update only the embedding rows a batch touches.

Keras 3.15's own optimizers are wrong or slow there. If a batch names a row twice, each mention is squared instead of
their sum (the accumulator grows by 1 + 1 where the gradient is 2), and a division runs over the whole table.
"""

from typing import Any

import keras
import tensorflow as tf

from switchyard.core.runs.spec import TrainSpec


class UniqueRows(tf.IndexedSlices):
    """Slices that name no row twice; `unique_rows` returns them as they are, so that rows are summed only once."""


def unique_rows(gradient: tf.IndexedSlices) -> UniqueRows:
    """Returns the same gradient with each touched row once: values [touched, dim], the sums over the row's mentions."""
    if isinstance(gradient, UniqueRows):
        return gradient
    rows, position = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))
    return UniqueRows(values, rows, gradient.dense_shape)


@keras.saving.register_keras_serializable("switchyard")
class SparseAdagrad(keras.optimizers.Adagrad):
    """Adagrad that gives the same numbers for slices as for the dense gradient, at the cost of the touched rows only.

    A row without a gradient has an update of 0 in dense Adagrad too, so leaving it out changes nothing.
    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 12 (2011), with Keras' epsilon inside the root.
    """

    takes_unique_rows = True

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates `variable` in place."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = unique_rows(gradient)
        rows, values = gradient.indices, gradient.values
        accumulator = self._accumulators[self._get_variable_index(variable)].value
        squares = tf.gather(accumulator, rows) + tf.square(values)
        accumulator.scatter_update(tf.IndexedSlices(squares, rows))
        step = tf.cast(learning_rate, values.dtype) * values * tf.math.rsqrt(squares + self.epsilon)
        variable.scatter_sub(tf.IndexedSlices(step, rows))  # Keras passes its TensorFlow variable here


@keras.saving.register_keras_serializable("switchyard")
class LazyAdam(keras.optimizers.Adam):
    """Adam that leaves a row's moments unchanged while no batch touches the row.

    Its numbers are not those of dense Adam, where an untouched row goes on moving by its decaying momentum. If every
    step touches every row, both are the same. The bias correction counts all steps, as in dense Adam.
    Source: Kingma, Ba, "Adam", ICLR 2015, algorithm 1; the lazy variant is TensorFlow Addons' LazyAdam.
    """

    takes_unique_rows = True

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates `variable` in place."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = unique_rows(gradient)
        rows, values = gradient.indices, gradient.values
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index].value, self._velocities[index].value
        first = self.beta_1 * tf.gather(momentum, rows) + (1 - self.beta_1) * values
        second = self.beta_2 * tf.gather(velocity, rows) + (1 - self.beta_2) * tf.square(values)
        momentum.scatter_update(tf.IndexedSlices(first, rows))
        velocity.scatter_update(tf.IndexedSlices(second, rows))
        step_count = tf.cast(self.iterations.value + 1, values.dtype)
        correction = tf.sqrt(1 - tf.pow(self.beta_2, step_count)) / (1 - tf.pow(self.beta_1, step_count))
        step = tf.cast(learning_rate, values.dtype) * correction * first / (tf.sqrt(second) + self.epsilon)
        variable.scatter_sub(tf.IndexedSlices(step, rows))  # Keras passes its TensorFlow variable here


def make_optimizer(spec: TrainSpec) -> keras.optimizers.Optimizer:
    """Returns the optimizer that `spec` names."""
    kinds = {"adagrad": SparseAdagrad, "adam": LazyAdam}
    return kinds[spec.optimizer](learning_rate=spec.learning_rate)
