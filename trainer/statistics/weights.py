"""Collects the weights at an epoch's end: norms, exact moments and a histogram per tower.

The weights are read in place and in pieces, so that a table is never copied. numpy does it in one thread: for small
tables it is a few tenths of a millisecond of work, less than TensorFlow needs to distribute it. The order of numpy's
sums is the same with any number of cores.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from trainer.output.epoch_record import EpochRecord
from trainer.statistics.bins import BIN_EDGES, count_read_bins
from trainer.statistics.patterns import TOWER_PATTERNS, match_towers

CHUNK_VALUES = 1 << 16  # 256 KB of float32: fits the processor's cache, and hardly any memory
SAMPLE_VALUES = 1 << 16  # the most values of a tower that a histogram looks at


class Moments(NamedTuple):
    """The moments of some weights' values: their number, mean, squared deviations from the mean, and range."""

    number: float
    mean: float
    deviations: float
    lowest: float
    highest: float

    @property
    def std(self) -> float:
        """The population standard deviation, sqrt(sum (x - mean)^2 / n)."""
        return float(np.sqrt(self.deviations / self.number))

    @property
    def norm(self) -> float:
        """The L2 norm, sqrt(sum x^2) = sqrt(sum (x - mean)^2 + n mean^2)."""
        return float(np.sqrt(self.deviations + self.number * self.mean**2))


def merge_moments(parts: Sequence[Moments]) -> Moments:
    """Returns the moments of all parts' values together.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979,
    equation 2.1. Unlike E[x^2] - E[x]^2 it loses no precision if the mean is large compared with the deviation.
    """
    counts, means, deviations, lowest, highest = np.array(parts, np.float64).T
    count = counts.sum()
    mean = (counts * means).sum() / count
    spread = deviations.sum() + (counts * (means - mean) ** 2).sum()
    return Moments(count, mean, spread, lowest.min(), highest.max())


class WeightReader:
    """Reads the current values of `variables` (Keras variables of any shape)."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = [variable.value for variable in variables]
        values = sum(int(np.prod(variable.shape)) for variable in variables)
        self._stride = max(1, -(-values // SAMPLE_VALUES))

    def read_moments(self) -> Moments:
        """Returns the exact moments of all values."""
        return _find_moments(self._view())

    def read_histogram(self) -> tuple[list[int], bool]:
        """Returns counts [25] over `bins.BIN_EDGES`, and whether they are of a sample.

        With more than SAMPLE_VALUES values every s-th row is counted, the same rows in each epoch."""
        return self._count(self._view())

    def read(self) -> tuple[Moments, list[int], bool]:
        """Returns what `read_moments` and `read_histogram` return, but looks the weights up only once."""
        views = self._view()
        return _find_moments(views), *self._count(views)

    def _view(self) -> list[npt.NDArray[Any]]:
        """Returns the values, without a copy if they are in the machine's main memory.

        Release them before the next step: while a view of a variable exists, an update of it goes to a copy."""
        return [np.asarray(variable.read_value_no_copy()) for variable in self._variables]

    def _count(self, views: Sequence[npt.NDArray[Any]]) -> tuple[list[int], bool]:
        rows = [np.atleast_1d(view)[:: self._stride].astype(np.float32, copy=False) for view in views]
        return np.asarray(sum(count_read_bins(values) for values in rows)).tolist(), self._stride > 1


@np.errstate(over="ignore", invalid="ignore")  # the moments of weights that are not finite are not finite either
def _find_moments(views: Sequence[npt.NDArray[Any]]) -> Moments:
    return merge_moments([moments for view in views for moments in _read_chunks(view.reshape(-1))])


def _read_chunks(values: npt.NDArray[Any]) -> Iterator[Moments]:
    """Yields the moments of CHUNK_VALUES values at a time: float32 sums of that many are accurate to 1e-6."""
    buffer = np.empty(min(CHUNK_VALUES, values.size), np.float32)
    for begin in range(0, values.size, CHUNK_VALUES):
        chunk = values[begin : begin + CHUNK_VALUES].astype(np.float32, copy=False)
        mean = chunk.mean()
        deviations = np.subtract(chunk, mean, out=buffer[: chunk.size])
        squares = np.square(deviations, out=deviations).sum()
        yield Moments(chunk.size, float(mean), float(squares), float(chunk.min()), float(chunk.max()))


class WeightNorms(keras.callbacks.Callback):
    """Adds the weights' L2 norms to the record's ``gradient`` section, named as in the legacy payload.

    ``total`` is the norm of all trainable weights; each tower has its own. If `WeightStatistics` of the same towers
    came before, its norms are used, and the weights are not read a second time.

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
    """Adds each tower's statistics to ``weight_stats``: exact mean, std, min, max and norm, and a histogram.

    The histogram is of a sample if the tower has more than SAMPLE_VALUES values.

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
            moments, counts, sampled = reader.read()
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
