"""Weights at an epoch's end: norms, exact moments and a histogram per tower, read in pieces so that no second copy of a
table is ever held."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.output.epoch_record import EpochRecord
from trainer.statistics.bins import BIN_EDGES, count_read_bins
from trainer.statistics.patterns import TOWER_PATTERNS, match_towers

CHUNK_VALUES = 1 << 18  # 1 MB of float32: stays in the processor's cache, and costs no memory to speak of
SAMPLE_VALUES = 1 << 16  # a histogram looks at no more values of a tower than this


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


class WeightReader:
    """Reads what `variables` (Keras variables of any shape) hold now; its graph is traced at its first use."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = [variable.value for variable in variables]
        values = sum(int(np.prod(variable.shape)) for variable in variables)
        self._stride = max(1, -(-values // SAMPLE_VALUES))
        # A graph of its own for each reader: one for all would be traced anew for every shape, with warnings.
        self._read_chunks = tf.function(lambda: [_read_chunks(variable) for variable in self._variables])

    def read_moments(self) -> Moments:
        """The exact moments of all values."""
        chunks = np.concatenate([chunks.numpy() for chunks in self._read_chunks()])
        return merge_moments([Moments(*chunk) for chunk in chunks])

    def read_histogram(self) -> tuple[list[int], bool]:
        """Counts [25] over `bins.BIN_EDGES`, and whether they are of a sample: of more than SAMPLE_VALUES
        values every s-th row is looked at, the same rows in each epoch."""
        counts = sum(count_read_bins(_read_rows(variable, self._stride).numpy()) for variable in self._variables)
        return np.asarray(counts).tolist(), self._stride > 1


def _read_chunks(variable: Any) -> tf.Tensor:
    """[chunks, 5] float64: the `Moments` of each CHUNK_VALUES values, at so many of which float32 sums are good to
    1e-6. Called while a graph is traced."""
    rows = variable.shape[0] if variable.shape.rank else 1
    chunk_rows = max(1, CHUNK_VALUES * rows // max(1, int(np.prod(variable.shape))))

    def read_chunk(begin: tf.Tensor) -> tf.Tensor:
        values = _read_rows(variable, 1, begin, tf.minimum(begin + chunk_rows, rows))
        mean = tf.reduce_mean(values)
        deviations = 2.0 * tf.nn.l2_loss(values - mean)
        number = tf.cast(tf.size(values), tf.float32)
        return tf.stack([number, mean, deviations, tf.reduce_min(values), tf.reduce_max(values)])

    begins = tf.range(0, rows, chunk_rows)
    chunks = tf.map_fn(read_chunk, begins, fn_output_signature=tf.TensorSpec([5], tf.float32), parallel_iterations=1)
    return tf.cast(chunks, tf.float64)


def _read_rows(variable: Any, stride: int, begin: int | tf.Tensor = 0, end: int | tf.Tensor | None = None) -> tf.Tensor:
    # Gathered, never read whole: after the first sparse update a read of a TensorFlow variable copies all of it.
    if not variable.shape.rank:
        return tf.cast(variable.read_value(), tf.float32)
    rows = tf.range(begin, variable.shape[0] if end is None else end, stride)
    return tf.cast(tf.gather(variable, rows), tf.float32)


class WeightNorms(keras.callbacks.Callback):
    """Adds the weights' L2 norms to the record's ``gradient`` section (the name is the legacy payload's): of all
    trainable weights as ``total``, and of each tower's. Where `WeightStatistics` of the same towers came before, its
    norms are taken, rather than the weights read a second time.

    Raises:
        BadRequest: at the start of ``fit``, where a tower matches no weight.
    """

    def __init__(self, record: EpochRecord, towers: Mapping[str, str] = TOWER_PATTERNS) -> None:
        super().__init__()
        self._record = record
        self._patterns = towers

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the towers' weights, which are all built by now."""
        towers = match_towers(self.model.trainable_variables, self._patterns)
        inside = {variable.path for found in towers.values() for variable in found}
        others = [variable for variable in self.model.trainable_variables if variable.path not in inside]
        self._readers = {tower: WeightReader(variables) for tower, variables in towers.items()}
        self._others = WeightReader(others) if others else None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch's row."""
        norms = {
            tower: self._record.find_statistic(epoch, "weight_stats", tower, "norm") or reader.read_moments().norm
            for tower, reader in self._readers.items()
        }
        others = self._others.read_moments().norm if self._others else 0.0
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
        towers = match_towers(self.model.trainable_variables, self._patterns)
        self._readers = {tower: WeightReader(variables) for tower, variables in towers.items()}

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch's row."""
        for tower, reader in self._readers.items():
            moments = reader.read_moments()
            counts, sampled = reader.read_histogram()
            values = {
                "mean": moments.mean,
                "std": moments.std,
                "min": moments.lowest,
                "max": moments.highest,
                "norm": moments.norm,
            }
            self._record.add_statistics(
                epoch, "weight_stats", tower, values, counts=counts, bin_edges=BIN_EDGES, sampled=sampled
            )
