"""The histograms' 25 bins, with the same edges for all weights, gradients, epochs, towers and runs.

Counts can therefore be compared. The bins are half-decades in both directions from zero: 12 for negative values from -1
to -1e-6, one for (-1e-6, 1e-6), 12 for positive values. Values beyond 1 are counted in the outermost bins. A bin
includes its lower edge.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from switchyard.core.metrics.record import HISTOGRAM_BINS

_POSITIVE = [10.0 ** (exponent / 2) for exponent in range(-12, 1)]
BIN_EDGES: tuple[float, ...] = tuple([-edge for edge in reversed(_POSITIVE)] + _POSITIVE)
LIMIT = BIN_EDGES[-1]

# Without the two outer edges, a search puts the values beyond them into the outer bins.
_INNER = np.array(BIN_EDGES[1:-1], np.float32)


def count_bins(values: tf.Tensor) -> tf.Tensor:
    """Returns how many of `values` (any shape, float32) lie in each bin, [25] int32; nan and infinities in none.

    Runs inside and outside of graphs, XLA's included.
    """
    return count_bins_of_each([values])[0]


def count_bins_of_each(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns what `count_bins` counts in each part, [parts, 25] int32, with one search instead of one per part."""
    flat = [tf.reshape(part, [-1]) for part in parts]
    owners = tf.repeat(tf.range(len(flat)) * HISTOGRAM_BINS, tf.stack([tf.size(part) for part in flat]))
    values = tf.concat(flat, 0)
    bins = tf.searchsorted(_INNER, values, side="right") + owners
    is_finite = tf.cast(tf.math.is_finite(values), tf.int32)
    counts = tf.math.unsorted_segment_sum(is_finite, bins, HISTOGRAM_BINS * len(flat))
    return tf.reshape(counts, [len(flat), HISTOGRAM_BINS])


def count_read_bins(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Returns what `count_bins` counts, [25], of values that are in memory already.

    Comparing all values with each edge is about ten times faster than searching for each value's bin."""
    finite = values.ravel()
    if not np.isfinite(finite).all():
        finite = finite[np.isfinite(finite)]
    is_above = np.empty(finite.size, np.bool_)  # one for all edges
    at_least = [np.count_nonzero(np.greater_equal(finite, edge, out=is_above)) for edge in _INNER]
    return -np.diff([finite.size, *at_least, 0])
