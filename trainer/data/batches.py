"""The input pipeline: a batch is a function of the seed and the step alone, so that any step can be trained again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.splitting import Pairs


def to_train_batches(
    pairs: Pairs, *, batch_size: int, epochs: int, seed: int, first_epoch: int = 0
) -> tuple[tf.data.Dataset, int]:
    """(buyers [batch], products [batch]) of every step of every epoch from `first_epoch` on, and how many steps an
    epoch has.

    Each epoch has a random order of its own (`tf.random.experimental.index_shuffle`, which computes a permutation's
    entry without holding the permutation); the rows that fill no whole batch are left out, others in each epoch.
    Whole batches are gathered at once: shuffling element by element is slower by an order of magnitude.
    """
    steps = len(pairs) // batch_size
    gather = _make_gather(pairs, batch_size=batch_size, seed=seed)
    numbers = tf.data.Dataset.range(first_epoch * steps, epochs * steps)
    return numbers.map(lambda step: gather(step // steps, step % steps, 1, [batch_size])).prefetch(8), steps


def to_train_stacks(
    pairs: Pairs, *, batch_size: int, epochs: int, seed: int, first_epoch: int = 0, steps_a_call: int
) -> tuple[tf.data.Dataset, int]:
    """The batches of `to_train_batches`, in stacks [steps, batch] of `steps_a_call`; and how many stacks an epoch has,
    of which the last has what is left of its steps: no stack has steps of two epochs."""
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
        """Both columns of `steps` batches from an epoch's `step` on, in the shape that is asked for."""
        index = step * batch_size + tf.range(tf.cast(steps * batch_size, tf.int64), dtype=tf.int64)
        seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
        chosen = tf.random.experimental.index_shuffle(index, tf.cast(seeds, tf.int32), len(pairs) - 1)
        return tuple(tf.reshape(tf.gather(column, chosen), shape) for column in (buyers, products))

    return gather


def to_test_batches(pairs: Pairs, *, batch_size: int, seed: int) -> tf.data.Dataset:
    """Whole batches in one random but fixed order; with fewer rows than a batch, one batch of all.

    In the pairs' own order a batch would be one buyer's, and an in-batch loss depends on who shares a batch.
    """
    order = np.random.default_rng(seed).permutation(len(pairs))
    batch_size = min(batch_size, len(pairs))
    rows = len(pairs) // batch_size * batch_size
    chosen = order[:rows].reshape(-1, batch_size)
    return tf.data.Dataset.from_tensor_slices((pairs.buyers[chosen], pairs.products[chosen])).prefetch(8)
