"""Runs that look real, published through the real adapters; a test names what differs."""

import math
import random
from datetime import UTC, datetime
from typing import Any, Protocol

from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import (
    EdgesKnown,
    FileStatus,
    Histogram,
    MetricsRecord,
    RunIdentity,
    Sampling,
    TowerStatistics,
)
from switchyard.core.ports import Histories, Runs
from switchyard.core.runs.rows import NewRun, QuickTest, RunStatus

NOW = datetime(2026, 1, 2, 10, 30, tzinfo=UTC)
_HALF_DECADES = [10 ** (exponent / 2) for exponent in range(-12, 1)]
EDGES = [-edge for edge in reversed(_HALF_DECADES)] + _HALF_DECADES
FINAL_METRICS: dict[str, float | None] = {
    "final_loss": 1.3,
    "final_val_loss": 1.5,
    "test_recall_at_5": 0.0388,
    "popularity_recall_at_5": 0.0136,
    "test_recall_at_10": 0.0672,
    "popularity_recall_at_10": 0.0228,
}


def make_histogram(
    epochs: int, *, spread: float = 0.02, edges_known: EdgesKnown = "all", sampled: bool = False
) -> Histogram:
    """Counts of 400 normal values an epoch in the trainer's signed half-decade bins."""
    source = random.Random(epochs)
    counts: list[list[int | None] | None] = []
    for epoch in range(epochs):
        row: list[int | None] = [0] * 25
        for _ in range(400):
            value = source.gauss(0, spread * (1 + 0.05 * epoch))
            place = min(24, max(0, sum(value >= edge for edge in EDGES) - 1))
            row[place] = (row[place] or 0) + 1
        counts.append(row)
    edges = None if edges_known == "none" else EDGES
    return Histogram(bin_edges=edges, edges_known=edges_known, sampled=sampled, counts=counts)


def make_record(
    *,
    epochs: int = 50,
    status: FileStatus = "completed",
    edges_known: EdgesKnown = "all",
    nan_at: int | None = None,
    histograms: bool = True,
    **changes: Any,
) -> MetricsRecord:
    """A training's whole record; `nan_at` makes the validation loss of that epoch NaN."""
    source = random.Random(7)
    count = range(epochs)
    loss: list[float | None] = [5.9 * math.exp(-epoch / 12) + 1.2 + 0.03 * source.random() for epoch in count]
    val: list[float | None] = [value * 1.08 + 0.04 * source.random() for value in loss if value is not None]
    regularization: list[float | None] = [0.02 + 0.001 * epoch for epoch in count]
    non_finite: dict[str, Any] = {}
    if nan_at is not None:
        val[nan_at] = None
        non_finite = {"loss": {"val_loss": {str(nan_at): "nan"}}}
    query: list[float | None] = [10 + 4 * math.log1p(epoch) for epoch in count]
    candidate: list[float | None] = [12 + 4.5 * math.log1p(epoch) for epoch in count]

    def towers(spread: float, sampled: bool) -> dict[str, TowerStatistics]:
        made = make_histogram(epochs, spread=spread, edges_known=edges_known, sampled=sampled)
        return {tower: TowerStatistics(histogram=made) for tower in ("query", "candidate")} if histograms else {}

    values: dict[str, Any] = {
        "status": status,
        "saved_at": NOW,
        "run": RunIdentity(quick_test_id=1, key="k", attempt=1, restart=0),
        "epochs": list(count),
        "loss": {
            "loss": loss,
            "val_loss": val,
            "total_loss": _sum(loss, regularization),
            "val_total_loss": _sum(val, regularization),
            "regularization_loss": regularization,
            "val_regularization_loss": regularization,
        },
        "gradient": {"total": _hypot(query, candidate), "query": query, "candidate": candidate},
        "weight_stats": towers(0.02, False),
        "gradient_stats": towers(0.001, True),
        "final_metrics": dict(FINAL_METRICS),
        "params": {"epochs": epochs, "batch_size": 512, "learning_rate": 1.0, "optimizer": "adagrad"},
        "non_finite": non_finite,
    }
    return MetricsRecord(**{**values, **changes})


class Publishing(Protocol):
    """A place, or the outside: whatever hands out these two ports."""

    @property
    def runs(self) -> Runs: ...

    @property
    def histories(self) -> Histories: ...


def make_run(place: Publishing, name: str = "a run") -> QuickTest:
    """A row with nothing published; the name is also its request key, so that a second call finds it again."""
    return place.runs.create_run(NewRun(request_key=name, display_name=name), now=NOW)


def publish_run(
    place: Publishing,
    record: MetricsRecord | None = None,
    *,
    name: str = "a run",
    row_status: RunStatus | None = RunStatus.COMPLETED,
    error: str = "",
    sampling: Sampling | None = None,
) -> int:
    """A run with `record` published; its id."""
    run = make_run(place, name)
    publication = to_publication(
        record or make_record(epochs=11),
        quick_test_id=run.id,
        source="file",
        sampling=sampling or Sampling(),
        row_status=row_status,
        error=error,
    )
    place.histories.publish(publication, now=NOW)
    return run.id


def _sum(left: list[float | None], right: list[float | None]) -> list[float | None]:
    return [None if a is None or b is None else a + b for a, b in zip(left, right, strict=True)]


def _hypot(left: list[float | None], right: list[float | None]) -> list[float | None]:
    return [math.hypot(a or 0, b or 0) for a, b in zip(left, right, strict=True)]
