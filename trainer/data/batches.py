"""The input pipeline: a batch is a function of the seed and the step alone, so that any step can be trained again."""

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
    rows = len(pairs)
    steps = rows // batch_size
    buyers, products = tf.constant(pairs.buyers), tf.constant(pairs.products)

    def gather(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, within = step // steps, step % steps
        index = within * batch_size + tf.range(batch_size, dtype=tf.int64)
        seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
        chosen = tf.random.experimental.index_shuffle(index, tf.cast(seeds, tf.int32), rows - 1)
        return tf.gather(buyers, chosen), tf.gather(products, chosen)

    return tf.data.Dataset.range(first_epoch * steps, epochs * steps).map(gather).prefetch(8), steps


def to_test_batches(pairs: Pairs, *, batch_size: int, seed: int) -> tf.data.Dataset:
    """Whole batches in one random but fixed order; with fewer rows than a batch, one batch of all.

    In the pairs' own order a batch would be one buyer's, and an in-batch loss depends on who shares a batch.
    """
    order = np.random.default_rng(seed).permutation(len(pairs))
    batch_size = min(batch_size, len(pairs))
    rows = len(pairs) // batch_size * batch_size
    chosen = order[:rows].reshape(-1, batch_size)
    return tf.data.Dataset.from_tensor_slices((pairs.buyers[chosen], pairs.products[chosen])).prefetch(8)
