"""Chooses the epochs and points that readers of the published history get; the record itself keeps all of them."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from switchyard.core.errors import BadRequest
from switchyard.core.metrics.record import LOSS_SERIES, MetricsRecord, Sampling, Series

By = Literal["epoch", "position"]


class Choice(msgspec.Struct, frozen=True):
    """The positions to keep, ascending; chosen by the steps' values, or by their position where values keep too few."""

    positions: list[int]
    by: By = "epoch"
    cut: bool = False  # `max_points` took some away


def choose_epochs(record: MetricsRecord, sampling: Sampling) -> Choice:
    """Returns the positions in `record.epochs` to keep: epochs that `interval` divides, and the last.

    Where those are fewer than floor(epochs / interval), as of steps 99, 199, ..., or one of several, as of epochs 1
    to 4, every interval-th position is kept instead, and the last. `keep_extremes` adds the first epoch, and of
    each loss series the first position of its minimum, of its maximum, and every non-finite value: a spike between
    two samples must not vanish unseen. Where more than `max_points` are left, some are taken away evenly, but for
    the last and those extremes.

    Raises:
        BadRequest: `interval` is below 1, or `max_points` below 2.
    """
    chosen = _choose(record.epochs, sampling)
    kept = set(chosen.positions)
    if not kept:
        return chosen
    if sampling.keep_extremes:
        kept |= {0, *_find_extremes(record)}
    if len(kept) <= sampling.max_points:
        return Choice(sorted(kept), chosen.by)
    extremes = {position for series in record.loss.values() for position in _find_ends(series)}
    return Choice(_thin(sorted(kept), extremes, sampling.max_points), chosen.by, cut=True)


def choose_points(steps: Sequence[int], values: Series, sampling: Sampling) -> Choice:
    """Returns the same for one series on steps of its own, [points] each.

    Raises:
        BadRequest: as `choose_epochs`.
    """
    chosen = _choose(steps, sampling)
    if not chosen.positions:
        return chosen
    kept = set(chosen.positions)
    if sampling.keep_extremes:
        kept |= {0, *_find_ends(values)}
    if len(kept) <= sampling.max_points:
        return Choice(sorted(kept), chosen.by)
    return Choice(_thin(sorted(kept), _find_ends(values), sampling.max_points), chosen.by, cut=True)


def _choose(steps: Sequence[int], sampling: Sampling) -> Choice:
    interval = sampling.interval
    if interval < 1:
        raise BadRequest(f"the sampling interval must be at least 1 epoch; got {interval}")
    if sampling.max_points < 2:
        raise BadRequest(f"max_points must be at least 2; got {sampling.max_points}")
    if not steps:
        return Choice([])
    last = len(steps) - 1
    kept = [position for position, step in enumerate(steps) if step % interval == 0]
    by: By = "epoch"
    if not kept or kept[-1] != last:
        kept.append(last)
    # Two at least: one point of a few steps that `interval` does not divide would not be a line.
    if len(kept) < max(len(steps) // interval, min(2, len(steps))):
        kept, by = list(range(0, len(steps), interval)), "position"
        if kept[-1] != last:
            kept.append(last)
    return Choice(kept, by)


def _thin(positions: list[int], extremes: set[int], most: int) -> list[int]:
    """Returns at most `most` of `positions`, evenly spread.

    The last one and `extremes` (as far as they fit) are among them.
    """
    kept = {positions[-1], *sorted(extremes)[: most - 1]}
    left = most - len(kept)
    if left > 0:
        kept |= {positions[number * len(positions) // left] for number in range(left)}
    return sorted(kept)


def _find_ends(series: Series) -> set[int]:
    """Returns the first positions of the minimum and of the maximum; none of a series without a value."""
    values = [value for value in series if value is not None]
    return {series.index(min(values)), series.index(max(values))} if values else set()


def _find_extremes(record: MetricsRecord) -> set[int]:
    positions = {str(epoch): position for position, epoch in enumerate(record.epochs)}
    extremes = set()
    for name in LOSS_SERIES:
        extremes |= _find_ends(record.loss.get(name, []))
        extremes |= {positions[epoch] for epoch in record.non_finite.get("loss", {}).get(name, {})}
    return extremes
