"""Chooses the epochs that readers of the published history get; the record itself keeps all of them."""

from switchyard.core.errors import BadRequest
from switchyard.core.metrics.record import LOSS_SERIES, MetricsRecord, Sampling


def choose_epochs(record: MetricsRecord, sampling: Sampling) -> list[int]:
    """The positions in `record.epochs` to keep, ascending: epochs that `interval` divides, and the last.

    `keep_extremes` adds the first epoch, and of each loss series the first position of its minimum, of its maximum,
    and every non-finite value: a spike between two samples must not vanish unseen.

    Raises:
        BadRequest: `interval` is below 1.
    """
    if sampling.interval < 1:
        raise BadRequest(f"the sampling interval must be at least 1 epoch; got {sampling.interval}")
    if not record.epochs:
        return []
    kept = {position for position, epoch in enumerate(record.epochs) if epoch % sampling.interval == 0}
    kept.add(len(record.epochs) - 1)
    if sampling.keep_extremes:
        kept |= {0, *_find_extremes(record)}
    return sorted(kept)


def _find_extremes(record: MetricsRecord) -> set[int]:
    positions = {str(epoch): position for position, epoch in enumerate(record.epochs)}
    extremes = set()
    for name in LOSS_SERIES:
        series = record.loss.get(name, [])
        values = [value for value in series if value is not None]
        if values:
            extremes |= {series.index(min(values)), series.index(max(values))}
        extremes |= {positions[epoch] for epoch in record.non_finite.get("loss", {}).get(name, {})}
    return extremes
