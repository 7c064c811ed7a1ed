"""The metrics record: what a training said of its epochs, whatever wrote it (our trainer, a legacy collector, MLflow).

`core.metrics.reading` makes it from ``training_metrics.json``; everything after takes it (sampling,
digests, publishing). docs/contracts.md describes the file field by field.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

SCHEMA_VERSION = 1
MAX_FILE_BYTES = 64 * 1024 * 1024
HISTOGRAM_BINS = 25
MAX_ATTEMPT = 2**31 - 1
"""The largest attempt and restart that every results database can rank a history by: Postgres' `integer`."""

Series = list[float | None]
"""One value an epoch; None: missing, or non-finite (`MetricsRecord.non_finite` says which)."""

FileStatus = Literal["partial", "completed", "failed"]
EdgesKnown = Literal["all", "first_epoch", "none"]
NonFiniteKind = Literal["nan", "inf", "-inf"]

LOSS_SERIES = ("loss", "val_loss", "total_loss", "val_total_loss", "regularization_loss", "val_regularization_loss")
PUBLISHED_LOSS = {
    "train": "loss",
    "val": "val_loss",
    "regularization": "regularization_loss",
    "val_regularization": "val_regularization_loss",
    "total": "total_loss",
    "val_total": "val_total_loss",
}
"""The published history's names of the loss series, in its order, and the record's."""
GRADIENT_SERIES = ("total", "query", "candidate")
TOWERS = ("query", "candidate")
REFIT_LOSS = "refit_loss"
"""Of the other series: one value an epoch of the refit, in which the exported model was trained, after the test, on all
but the test rows. Its `steps` go on where the run's own updates end, so that none is an epoch's number."""


class RunIdentity(msgspec.Struct, kw_only=True):
    """Which run a file belongs to. Unknown keys are kept in `MetricsRecord.unknown`."""

    quick_test_id: int
    key: str
    attempt: int
    restart: int
    name: str = ""
    seed: int | None = None


class Histogram(msgspec.Struct, kw_only=True):
    """Counts per epoch, [epochs, 25]; `bin_edges` has 26 numbers, or is None with ``edges_known: "none"``."""

    bin_edges: list[float] | None = None
    edges_known: EdgesKnown = "none"
    # No one logged the edges: they are the fixed range of the legacy trainer, and wrong where another one counted.
    # In a file, and in what is served, only if it is true; in no digest, so that old ones hold.
    edges_assumed: bool = False
    sampled: bool = False  # the counts are an estimate from part of the values
    counts: list[list[int | None] | None] = []


class TowerStatistics(msgspec.Struct, kw_only=True):
    """One tower's per-epoch statistics (mean, std, min, max, norm, touched_fraction, ...) and their histogram."""

    series: dict[str, Series] = {}
    histogram: Histogram | None = None
    # The keys below are kept as they came: e.g. ``"sampled": true`` beside the series of an estimate.
    other: dict[str, Any] = {}


class OtherSeries(msgspec.Struct, kw_only=True):
    """A series on steps of its own; `steps` never decrease, and both lists are equally long."""

    steps: list[int] = []
    values: Series = []


class MetricsRecord(msgspec.Struct, kw_only=True):
    """All epochs of one run. Every Series in it has exactly len(epochs) values, whatever the source was."""

    status: FileStatus
    saved_at: datetime  # aware UTC
    run: RunIdentity | None = None  # None: version 0, or MLflow
    available: bool = True
    epochs: list[int] = []  # >= 0, strictly increasing
    loss: dict[str, Series] = {}  # names as in LOSS_SERIES
    gradient: dict[str, Series] = {}  # names as in GRADIENT_SERIES
    weight_stats: dict[str, TowerStatistics] = {}
    gradient_stats: dict[str, TowerStatistics] = {}
    metrics: dict[str, Series] = {}
    other_series: dict[str, OtherSeries] = {}
    final_metrics: dict[str, float | None] = {}
    params: dict[str, Any] = {}
    non_finite: dict[str, dict[str, dict[str, NonFiniteKind]]] = {}
    unknown: dict[str, Any] = {}  # by JSON path; kept and digested
    warnings: list[str] = []  # what a reader wants said; never digested
    charted_only: bool = (
        False  # of an MLflow run only loss, gradient, final metrics and params were read: no full digest
    )


def to_refit_epochs(record: MetricsRecord) -> int:
    """Returns how many epochs of a refit the record has."""
    found = record.other_series.get(REFIT_LOSS)
    return len(found.steps) if found else 0


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the published history is made: every `interval`-th epoch and the last, perhaps the extremes too."""

    interval: int = 5
    keep_extremes: bool = False
    max_points: int = 500  # of the axis, and of each series on steps of its own
    directions: dict[str, Literal["min", "max"]] = {}  # which way is better, of series with names that do not say so
