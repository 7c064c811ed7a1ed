"""Weights at an epoch's end: norms, exact moments and a histogram per tower, read where they lie and in pieces, so that
no second copy of a table is ever held.

By numpy, in one thread: an epoch's end of small tables is some tenths of a millisecond of work, less than TensorFlow
takes to share it out. The order of numpy's sums is the same with any number of cores.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from trainer.output.epoch_record import EpochRecord
from trainer.statistics.bins import BIN_EDGES, count_read_bins
from trainer.statistics.patterns import TOWER_PATTERNS, match_towers

CHUNK_VALUES = 1 << 16  # 256 KB of float32: stays in the processor's cache, and costs no memory to speak of
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
    """Reads what `variables` (Keras variables of any shape) hold now."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = [variable.value for variable in variables]
        values = sum(int(np.prod(variable.shape)) for variable in variables)
        self._stride = max(1, -(-values // SAMPLE_VALUES))

    def read_moments(self) -> Moments:
        """The exact moments of all values."""
        return _find_moments(self._view())

    def read_histogram(self) -> tuple[list[int], bool]:
        """Counts [25] over `bins.BIN_EDGES`, and whether they are of a sample: of more than SAMPLE_VALUES
        values every s-th row is looked at, the same rows in each epoch."""
        return self._count(self._view())

    def read(self) -> tuple[Moments, list[int], bool]:
        """All of `read_moments` and `read_histogram`, for the price of looking up the weights once."""
        views = self._view()
        return _find_moments(views), *self._count(views)

    def _view(self) -> list[npt.NDArray[Any]]:
        """The values, not copied where they lie in the machine's memory. To be let go of before the next step: an
        update of a variable that someone looks at goes to a copy."""
        return [np.asarray(variable.read_value_no_copy()) for variable in self._variables]

    def _count(self, views: Sequence[npt.NDArray[Any]]) -> tuple[list[int], bool]:
        rows = [np.atleast_1d(view)[:: self._stride].astype(np.float32, copy=False) for view in views]
        return np.asarray(sum(count_read_bins(values) for values in rows)).tolist(), self._stride > 1


@np.errstate(over="ignore", invalid="ignore")  # of weights that are no numbers: neither are their moments
def _find_moments(views: Sequence[npt.NDArray[Any]]) -> Moments:
    return merge_moments([moments for view in views for moments in _read_chunks(view.reshape(-1))])


def _read_chunks(values: npt.NDArray[Any]) -> Iterator[Moments]:
    """Of each CHUNK_VALUES values, at so many of which float32 sums are good to 1e-6."""
    buffer = np.empty(min(CHUNK_VALUES, values.size), np.float32)
    for begin in range(0, values.size, CHUNK_VALUES):
        chunk = values[begin : begin + CHUNK_VALUES].astype(np.float32, copy=False)
        mean = chunk.mean()
        deviations = np.subtract(chunk, mean, out=buffer[: chunk.size])
        squares = np.square(deviations, out=deviations).sum()
        yield Moments(chunk.size, float(mean), float(squares), float(chunk.min()), float(chunk.max()))


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
