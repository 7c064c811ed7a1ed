"""The published history as version 1 had it: by which what was published then is verified, and filled, for ever.

Nothing is published by it any more. It must never change what it makes of a record.
"""

from typing import Any

from switchyard.core.errors import BadRequest
from switchyard.core.history.best import find_best
from switchyard.core.history.digest import to_digests, to_first_digests
from switchyard.core.history.full_series import to_full_series
from switchyard.core.history.histograms import to_histogram_rows
from switchyard.core.history.publication import FIRST_VERSIONS, Digests, Publication, Versions
from switchyard.core.history.publishing import Source, to_publication, to_rank
from switchyard.core.history.scalars import list_charted
from switchyard.core.history.values import to_values
from switchyard.core.metrics.nonfinite import Places
from switchyard.core.metrics.record import (
    GRADIENT_SERIES,
    LOSS_SERIES,
    PUBLISHED_LOSS,
    MetricsRecord,
    NonFiniteKind,
    Sampling,
    Series,
)


def to_digests_of(versions: Versions, record: MetricsRecord) -> Digests:
    """Returns the record's digests, as a history of these versions has them."""
    return to_first_digests(record) if versions.digest == FIRST_VERSIONS.digest else to_digests(record)


def to_publication_of(
    versions: Versions,
    record: MetricsRecord,
    *,
    quick_test_id: int,
    source: Source,
    sampling: Sampling,
    mlflow_run_id: str = "",
) -> Publication:
    """Returns what publishing the record wrote when these versions did it, series and values as they are filled in.

    Raises:
        BadRequest: `sampling` cannot be.
    """
    make = _to_first_publication if versions.digest == FIRST_VERSIONS.digest else to_publication
    return make(
        record, quick_test_id=quick_test_id, source=source, sampling=sampling, mlflow_run_id=mlflow_run_id,
        versions=versions,
    )  # fmt: skip


def _to_first_publication(
    record: MetricsRecord,
    *,
    quick_test_id: int,
    source: Source,
    sampling: Sampling,
    mlflow_run_id: str,
    versions: Versions,
) -> Publication:
    positions = _choose_epochs(record, sampling)
    digests = to_first_digests(record)
    histograms = to_histogram_rows(record)
    non_finite, dropped = _to_published_kinds(record, positions)
    history = {
        "available": record.available,
        "epochs": [record.epochs[position] for position in positions],
        "loss": {name: _sample(record.loss.get(key), positions) for name, key in PUBLISHED_LOSS.items()},
        "gradient": {name: _sample(record.gradient.get(name), positions) for name in GRADIENT_SERIES},
        "final_metrics": record.final_metrics,
        "params": record.params,
        "mlflow_run_id": mlflow_run_id,
        "histogram_available": bool(histograms),
        "schema_version": 1,
        "status": record.status,
        "source": source,
        "sampling": {
            "interval": sampling.interval,
            "keep_extremes": sampling.keep_extremes,
            "kept": len(positions),
            "total": len(record.epochs),
            "non_finite_dropped": dropped,
        },
        "non_finite": non_finite,
        "digest": {"charted": digests.charted, "full": digests.full},
    }
    charted = list(list_charted(record))
    best = {
        scalar.name: found
        for scalar in charted
        if (found := find_best(scalar.name, scalar.steps or record.epochs, scalar.values, sampling.directions))
    }
    return Publication(
        quick_test_id=quick_test_id,
        history=history,
        digests=digests,
        rank=to_rank(record),
        histograms=histograms,
        versions=versions,
        series=to_full_series(record),
        values=to_values(
            final=record.final_metrics,
            last={
                scalar.name: next((value for value in reversed(scalar.values) if value is not None), None)
                for scalar in charted
            },
            best=best,
            params=record.params,
            tags={},
        ),
    )


def _sample(series: Series | None, positions: list[int]) -> Series:
    """Returns the kept values; none at all of a series that the record does not have."""
    return [] if series is None else [series[position] for position in positions]


def _choose_epochs(record: MetricsRecord, sampling: Sampling) -> list[int]:
    """Returns the epochs that `interval` divides, and the last one.

    With `keep_extremes` also the first, and the losses' extremes and non-finite values.
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


def _to_published_kinds(record: MetricsRecord, positions: list[int]) -> tuple[dict[str, Any], int]:
    """Returns `non_finite` of what is published, under the published names, and a count of what was dropped.

    The count is of charted values that were not finite, in epochs that were not kept.
    """
    published: dict[str, Any] = {}
    dropped = 0
    kept = set(positions)
    places = Places(record)
    charted = [("loss", name, key) for name, key in PUBLISHED_LOSS.items()]
    charted += [("gradient", name, name) for name in GRADIENT_SERIES]
    for section, name, key in charted:
        kinds: dict[int, NonFiniteKind] = places.kinds(section, key)
        found = {str(record.epochs[position]): kind for position, kind in kinds.items() if position in kept}
        dropped += len(kinds) - len(found)
        if found:
            published.setdefault(section, {})[name] = found
    for section in ("final_metrics", "params"):
        if record.non_finite.get(section):
            published[section] = record.non_finite[section]
    return published, dropped
