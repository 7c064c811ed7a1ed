"""The input pipeline: a batch is a function of the seed and the step alone, so that any step can be trained again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.splitting import Pairs


def to_train_batches(
    pairs: Pairs, *, batch_size: int, epochs: int, seed: int, first_epoch: int = 0
) -> tuple[tf.data.Dataset, int]:
    """Returns the batches of all epochs from `first_epoch` on, and how many steps an epoch has.

    A batch is (buyers [batch], products [batch]), one for each step.

    Each epoch has its own random order, from `tf.random.experimental.index_shuffle`, which computes an entry of a
    permutation without holding the permutation. The rows that do not fill a whole batch are left out; they are
    different rows in each epoch. Whole batches are gathered at once, because shuffling element by element is slower by
    an order of magnitude.
    """
    steps = len(pairs) // batch_size
    gather = _make_gather(pairs, batch_size=batch_size, seed=seed)
    numbers = tf.data.Dataset.range(first_epoch * steps, epochs * steps)
    return numbers.map(lambda step: gather(step // steps, step % steps, 1, [batch_size])).prefetch(8), steps


def to_train_stacks(
    pairs: Pairs, *, batch_size: int, epochs: int, seed: int, first_epoch: int = 0, steps_a_call: int
) -> tuple[tf.data.Dataset, int]:
    """Returns the batches of `to_train_batches` in stacks of `steps_a_call`, and how many stacks an epoch has.

    A stack's columns are [steps, batch]. An epoch's last stack has the steps that are left: no stack mixes two
    epochs."""
    steps = len(pairs) // batch_size
    stacks = -(-steps // steps_a_call)
    gather = _make_gather(pairs, batch_size=batch_size, seed=seed)

    def gather_stack(stack: tf.Tensor) -> tuple[tf.Tensor, ...]:
        step = stack % stacks * steps_a_call
        return gather(stack // stacks, step, tf.minimum(steps - step, steps_a_call), [-1, batch_size])

    return tf.data.Dataset.range(first_epoch * stacks, epochs * stacks).map(gather_stack).prefetch(2), stacks


def _make_gather(pairs: Pairs, *, batch_size: int, seed: int) -> Callable[..., tuple[tf.Tensor, ...]]:
    buyers, products = tf.constant(pairs.buyers), tf.constant(pairs.products)

    def gather(epoch: tf.Tensor, step: tf.Tensor, steps: Any, shape: list[int]) -> tuple[tf.Tensor, ...]:
        """Returns both columns of `steps` batches, beginning at `step` of the epoch, in the given shape."""
        index = step * batch_size + tf.range(tf.cast(steps * batch_size, tf.int64), dtype=tf.int64)
        seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
        chosen = tf.random.experimental.index_shuffle(index, tf.cast(seeds, tf.int32), len(pairs) - 1)
        return tuple(tf.reshape(tf.gather(column, chosen), shape) for column in (buyers, products))

    return gather


def to_test_batches(pairs: Pairs, *, batch_size: int, seed: int) -> tf.data.Dataset:
    """Returns whole batches in one random but fixed order; with fewer rows than a batch, one batch of all.

    In the pairs' own order a batch would hold one buyer's pairs, and an in-batch loss depends on which pairs share a
    batch.
    """
    order = np.random.default_rng(seed).permutation(len(pairs))
    batch_size = min(batch_size, len(pairs))
    rows = len(pairs) // batch_size * batch_size
    chosen = order[:rows].reshape(-1, batch_size)
    return tf.data.Dataset.from_tensor_slices((pairs.buyers[chosen], pairs.products[chosen])).prefetch(8)
