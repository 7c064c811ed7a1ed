"""Builds what one publish writes: the published history, its digests, its rank and its histograms."""

from typing import Any, Literal

from switchyard.core.history.digest import to_digests
from switchyard.core.history.histograms import to_histogram_rows
from switchyard.core.history.publication import Publication, Rank
from switchyard.core.history.sampling import choose_epochs
from switchyard.core.metrics.nonfinite import Places
from switchyard.core.metrics.record import (
    GRADIENT_SERIES,
    PUBLISHED_LOSS,
    SCHEMA_VERSION,
    MetricsRecord,
    NonFiniteKind,
    Sampling,
)
from switchyard.core.runs.rows import RunStatus

Source = Literal["file", "mlflow"]

_STATUS_RANK = {"partial": 0, "failed": 1, "completed": 2}


def to_rank(record: MetricsRecord) -> Rank:
    """How new the record is: a later attempt, restart, epoch or state of the same run outranks an earlier one."""
    return Rank(
        attempt=record.run.attempt if record.run else 0,
        restart=record.run.restart if record.run else 0,
        epochs=len(record.epochs),
        status=_STATUS_RANK[record.status],
    )


def to_publication(
    record: MetricsRecord,
    *,
    quick_test_id: int,
    source: Source,
    sampling: Sampling,
    row_status: RunStatus | None = None,
    error: str = "",
    mlflow_run_id: str = "",
) -> Publication:
    """All that publishing the record writes. Everything in it is strict JSON: what is not finite is null.

    Raises:
        BadRequest: `sampling` cannot be.
    """
    positions = choose_epochs(record, sampling)
    digests = to_digests(record)
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
        "schema_version": SCHEMA_VERSION,
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
    return Publication(
        quick_test_id=quick_test_id,
        history=history,
        digests=digests,
        rank=to_rank(record),
        histograms=histograms,
        row_status=row_status,
        error=error,
    )


def _sample(series: list[float | None] | None, positions: list[int]) -> list[float | None]:
    """The kept values; none at all of a series that the record does not have."""
    return [] if series is None else [series[position] for position in positions]


def _to_published_kinds(record: MetricsRecord, positions: list[int]) -> tuple[dict[str, Any], int]:
    """`non_finite` of what is published, under the published names; and how many charted values were not finite in
    epochs that were not kept."""
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
