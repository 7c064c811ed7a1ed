"""Weights at an epoch's end: norms, exact moments and a histogram per tower, read in pieces so that no second copy of a
table is ever held."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.bins import BIN_EDGES, count_bins
from trainer.epoch_record import EpochRecord
from trainer.patterns import TOWER_PATTERNS, match_towers

CHUNK_VALUES = 1 << 18  # 1 MB of float32: stays in the processor's cache, and costs no memory to speak of
SAMPLE_VALUES = 1 << 17  # a histogram looks at no more values of a tower than this


class Moments(NamedTuple):
    """Of all values of some weights: how many, their mean and squared deviations from it, and their range."""

    number: float
    mean: float
    deviations: float
    lowest: float
    highest: float

    @property
    def std(self) -> float:
        """Population standard deviation, sqrt(sum (x - mean)^2 / n)."""
        return float(np.sqrt(self.deviations / self.number))

    @property
    def norm(self) -> float:
        """L2 norm, sqrt(sum x^2) = sqrt(sum (x - mean)^2 + n mean^2)."""
        return float(np.sqrt(self.deviations + self.number * self.mean**2))


def merge_moments(parts: Sequence[Moments]) -> Moments:
    """The moments of all parts' values together.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979,
    equation 2.1: unlike E[x^2] - E[x]^2 it loses nothing where the mean is large against the deviation.
    """
    counts, means, deviations, lowest, highest = np.array(parts, np.float64).T
    count = counts.sum()
    mean = (counts * means).sum() / count
    spread = deviations.sum() + (counts * (means - mean) ** 2).sum()
    return Moments(count, mean, spread, lowest.min(), highest.max())


def read_moments(variables: Sequence[Any]) -> Moments:
    """The exact moments of all values of `variables` (Keras variables of any shape)."""
    parts = []
    for variable in variables:
        rows, chunk_rows = _count_rows(variable)
        chunks = _chunk_moments(variable.value, tf.constant(rows), tf.constant(chunk_rows)).numpy()
        parts += [Moments(*chunk) for chunk in chunks.astype(np.float64)]
    return merge_moments(parts)


def read_histogram(variables: Sequence[Any]) -> tuple[np.ndarray[Any, np.dtype[np.int64]], bool]:
    """Counts [25] over `trainer.bins.BIN_EDGES`, and whether they are of a sample: of more than SAMPLE_VALUES values
    every s-th row is looked at, the same rows in each epoch."""
    values = sum(int(np.prod(variable.shape)) for variable in variables)
    stride = -(-values // SAMPLE_VALUES)
    counts = np.zeros(len(BIN_EDGES) - 1, np.int64)
    for variable in variables:
        rows, _ = _count_rows(variable)
        counts += _count_rows_bins(variable.value, tf.range(0, rows, stride)).numpy()
    return counts, stride > 1


def _count_rows(variable: Any) -> tuple[int, int]:
    """How many rows a variable has (1 for a scalar), and how many make a chunk."""
    shape = tuple(variable.shape)
    rows = shape[0] if shape else 1
    return rows, max(1, CHUNK_VALUES * rows // max(1, int(np.prod(shape))))


def _read_rows(variable: Any, rows: tf.Tensor) -> tf.Tensor:
    # Gathered, never read whole: after the first sparse update a read of a TensorFlow variable copies all of it.
    values = tf.gather(variable, rows) if variable.shape.rank else variable.read_value()
    return tf.cast(values, tf.float32)


@tf.function(reduce_retracing=True)
def _chunk_moments(variable: Any, rows: tf.Tensor, chunk_rows: tf.Tensor) -> tf.Tensor:
    """[chunks, 5] float32: each chunk's `Moments`, of a million values at most, where float32 sums are good to 1e-6."""
    chunks = tf.TensorArray(tf.float32, (rows + chunk_rows - 1) // chunk_rows, element_shape=[5])
    for chunk in tf.range(chunks.size()):
        begin = chunk * chunk_rows
        values = _read_rows(variable, tf.range(begin, tf.minimum(begin + chunk_rows, rows)))
        mean = tf.reduce_mean(values)
        deviations = 2.0 * tf.nn.l2_loss(values - mean)
        count = tf.cast(tf.size(values), tf.float32)
        row = tf.stack([count, mean, deviations, tf.reduce_min(values), tf.reduce_max(values)])
        chunks = chunks.write(chunk, row)
    return chunks.stack()


@tf.function(reduce_retracing=True)
def _count_rows_bins(variable: Any, rows: tf.Tensor) -> tf.Tensor:
    return count_bins(_read_rows(variable, rows))


class WeightNorms(keras.callbacks.Callback):
    """Adds the weights' L2 norms to the record's ``gradient`` section (the name is the legacy payload's): of all
    trainable weights as ``total``, and of each tower's.

    Raises:
        BadRequest: at the start of ``fit``, where a tower matches no weight.
    """

    def __init__(self, record: EpochRecord, towers: Mapping[str, str] = TOWER_PATTERNS) -> None:
        super().__init__()
        self._record = record
        self._patterns = towers

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the towers' weights, which are all built by now."""
        self._towers = match_towers(self.model.trainable_variables, self._patterns)
        inside = {variable.path for found in self._towers.values() for variable in found}
        self._others = [variable for variable in self.model.trainable_variables if variable.path not in inside]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch's row."""
        norms = {tower: read_moments(variables).norm for tower, variables in self._towers.items()}
        others = read_moments(self._others).norm if self._others else 0.0
        norms["total"] = float(np.sqrt(others**2 + sum(norm**2 for norm in norms.values())))
        self._record.add(epoch, "gradient", norms)


class WeightStatistics(keras.callbacks.Callback):
    """Adds each tower's weights to ``weight_stats``: mean, std, min, max and norm of all values, exact, and a
    histogram, of a sample where a tower has more than SAMPLE_VALUES values.

    Raises:
        BadRequest: at the start of ``fit``, where a tower matches no weight.
    """

    def __init__(self, record: EpochRecord, towers: Mapping[str, str] = TOWER_PATTERNS) -> None:
        super().__init__()
        self._record = record
        self._patterns = towers

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the towers' weights, which are all built by now."""
        self._towers = match_towers(self.model.trainable_variables, self._patterns)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch's row."""
        for tower, variables in self._towers.items():
            moments = read_moments(variables)
            counts, sampled = read_histogram(variables)
            values = {
                "mean": moments.mean,
                "std": moments.std,
                "min": moments.lowest,
                "max": moments.highest,
                "norm": moments.norm,
            }
            self._record.add_statistics(
                epoch, "weight_stats", tower, values, counts=counts.tolist(), bin_edges=BIN_EDGES, sampled=sampled
            )
