"""The metrics record while it grows: callbacks add each epoch's values, and snapshots copy what is there."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from switchyard.core.metrics.nonfinite import to_kind
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import (
    REFIT_LOSS,
    FileStatus,
    Histogram,
    MetricsRecord,
    OtherSeries,
    RunIdentity,
    Series,
    TowerStatistics,
    to_refit_epochs,
)

SeriesSection = Literal["loss", "gradient", "metrics"]
StatisticsSection = Literal["weight_stats", "gradient_stats"]


class EpochRecord:
    """All epochs so far, in memory; every series has one value per epoch, None if nothing was added.

    Epochs are added in rising order, each by the first callback that has a value for it.

    Args:
        before: the epochs that an earlier process of the same job has trained.
    """

    def __init__(self, before: MetricsRecord | None = None) -> None:
        self._record = before or MetricsRecord(status="partial", saved_at=datetime.min)

    @property
    def epochs(self) -> list[int]:
        """The epochs that have a value in any series."""
        return list(self._record.epochs)

    def add(self, epoch: int, section: SeriesSection, values: Mapping[str, float]) -> None:
        """Adds one value to each named series of the section; nan and the infinities are kept as such."""
        series = getattr(self._record, section)
        for name, value in values.items():
            self._put(series.setdefault(name, []), epoch, value, section, name)

    def add_refit_loss(self, step: int, loss: float) -> None:
        """Adds the mean loss of an epoch of the refit; `step` is the epoch's last step, over the whole run."""
        series = self._record.other_series.setdefault(REFIT_LOSS, OtherSeries())
        series.values.append(self._cleaned(loss, "other_series", REFIT_LOSS, str(len(series.values))))
        series.steps.append(step)

    @property
    def refit_epochs(self) -> int:
        """How many epochs of the refit were added."""
        return to_refit_epochs(self._record)

    def add_statistics(
        self,
        epoch: int,
        section: StatisticsSection,
        tower: str,
        values: Mapping[str, float],
        *,
        counts: Sequence[int],
        bin_edges: Sequence[float],
        sampled: bool,
        other: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds one tower's statistics and histogram row; `other` is stored beside the series unchanged.

        `bin_edges` must be the same in every epoch, because `edges_known` says "all".
        """
        towers = getattr(self._record, section)
        statistics = towers.setdefault(
            tower, TowerStatistics(histogram=Histogram(bin_edges=list(bin_edges), edges_known="all", sampled=sampled))
        )
        assert statistics.histogram.bin_edges == list(bin_edges)
        for name, value in values.items():
            self._put(statistics.series.setdefault(name, []), epoch, value, to_path(section, tower), name)
        self._pad(statistics.histogram.counts, epoch)
        statistics.histogram.counts.append([int(count) for count in counts])
        statistics.histogram.sampled |= sampled
        statistics.other.update(other or {})

    def last_losses(self) -> dict[str, float]:
        """Returns the last epoch's losses by their names in the final metrics; one that is not finite is nan."""
        names = (("final_loss", "loss"), ("final_val_loss", "val_loss"))
        found = {final: self._record.loss[name][-1] for final, name in names if self._record.loss.get(name)}
        return {name: math.nan if value is None else value for name, value in found.items()}

    def read_losses(self, name: str) -> list[float]:
        """Returns the loss `name` of every epoch; nan where it was not finite or is missing."""
        return [math.nan if value is None else value for value in self._record.loss.get(name, [])]

    def find_statistic(self, epoch: int, section: StatisticsSection, tower: str, name: str) -> float | None:
        """Returns the value that was added for the epoch; None if there is none, or it was not finite."""
        statistics = getattr(self._record, section).get(tower)
        series: Series = statistics.series.get(name, []) if statistics else []
        return series[-1] if series and self._record.epochs[-1] == epoch and len(series) == len(self.epochs) else None

    def finish(self, values: Mapping[str, float]) -> None:
        """Adds final metrics."""
        for name, value in values.items():
            self._record.final_metrics[name] = self._cleaned(value, "final_metrics", name, "")

    def view(self, *, run: RunIdentity, params: Mapping[str, Any]) -> MetricsRecord:
        """Returns the record itself, not a copy: read it before anything is added.

        Its series may be shorter than its epochs."""
        return msgspec.structs.replace(self._record, run=run, params=dict(params))

    def to_record(
        self, status: FileStatus, *, saved_at: datetime, run: RunIdentity | None, params: Mapping[str, Any]
    ) -> MetricsRecord:
        """Returns a copy of the record as it is now; later additions are not in it."""
        record: MetricsRecord = msgspec.convert(msgspec.to_builtins(self._record), MetricsRecord)
        for series in _all_series(record):
            series.extend([None] * (len(record.epochs) - len(series)))
        return msgspec.structs.replace(
            record, status=status, saved_at=saved_at, run=run, params=dict(params), available=bool(record.epochs)
        )

    def _put(self, series: Series, epoch: int, value: float, section: str, name: str) -> None:
        self._pad(series, epoch)
        series.append(self._cleaned(value, section, name, str(epoch)))

    def _pad(self, series: list[Any], epoch: int) -> None:
        epochs = self._record.epochs
        if not epochs or epoch > epochs[-1]:
            epochs.append(epoch)
        if epoch != epochs[-1] or len(series) >= len(epochs):
            raise ValueError(
                f"values are added once an epoch, in rising order; got epoch {epoch} after {epochs[-1]} "
                f"with {len(series)} values of {len(epochs)} epochs there"
            )
        series.extend([None] * (len(epochs) - 1 - len(series)))

    def _cleaned(self, value: float, section: str, name: str, position: str) -> float | None:
        value = float(value)
        if math.isfinite(value):
            return value
        self._record.non_finite.setdefault(section, {}).setdefault(name, {})[position] = to_kind(value)
        return None


def _all_series(record: MetricsRecord) -> list[list[Any]]:
    """Returns every list of the record that has one entry per epoch."""
    found: list[list[Any]] = [*record.loss.values(), *record.gradient.values(), *record.metrics.values()]
    for statistics in (*record.weight_stats.values(), *record.gradient_stats.values()):
        found += statistics.series.values()
        if statistics.histogram is not None:
            found.append(statistics.histogram.counts)
    return found
