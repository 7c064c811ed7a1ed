"""A histogram from the 25 metric keys and the param that legacy runs logged of it."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, Literal

import msgspec

from switchyard.core.metrics.legacy_names import GRADIENT_RANGE, to_edges_param
from switchyard.core.metrics.nonfinite import to_kind
from switchyard.core.metrics.paths import to_path, to_pointer
from switchyard.core.metrics.record import HISTOGRAM_BINS, EdgesKnown, Histogram, NonFiniteKind, Series
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.mlflow.tags import StatisticsTag, read_statistics_tag, to_edges_text

EDGES_TAG: Final = "switchyard.bin_edges"
"""The tag of a run that counted all its weight histograms on the logged edges, with the value ``constant``; legacy code
chose new edges in each epoch."""

_LARGEST: Final = 2**63 - 1
_CUT_LENGTH: Final = 500
"""What old versions of MLflow kept of a param: a text of that length was cut, perhaps inside its last number."""


class BinColumn(msgspec.Struct, frozen=True):
    """What one bin of a histogram counted, [epochs], and the MLflow key that it was logged under."""

    key: str
    counts: Series


def to_histogram(
    section: str, tower: str, columns: Mapping[int, BinColumn], run: RawRun, warnings: list[str]
) -> tuple[Histogram, dict[str, NonFiniteKind], list[str]]:
    """Returns the histogram, which of its nulls were not finite, and the keys that hold no count.

    The nulls are named by JSON pointer. A fraction and a negative number are not counts: null stands for them. Adds to
    `warnings` what readers should know.
    """
    epochs = len(next(iter(columns.values())).counts)
    whole: list[list[int | None]] = []
    kinds: dict[str, NonFiniteKind] = {}
    odd: list[str] = []
    for number in range(HISTOGRAM_BINS):
        column = columns.get(number)
        if column is None:
            whole.append([None] * epochs)
            continue
        counts = _to_counts(column.counts)
        whole.append(counts)
        if None not in counts:
            continue
        lost = [i for i, value in enumerate(column.counts) if value is not None and counts[i] is None]
        for position in lost:
            value = column.counts[position]
            assert value is not None
            if not math.isfinite(value):
                kinds[to_pointer("counts", position, number)] = to_kind(value)
        if any(math.isfinite(column.counts[i] or 0.0) for i in lost):
            odd.append(column.key)
    path = to_path(section, tower, "histogram")
    missing = HISTOGRAM_BINS - len(columns)
    if missing:
        warnings.append(f"`{path}` lacks {missing} of its {HISTOGRAM_BINS} bins; their counts are null")
    tag = read_statistics_tag(run.tags, section, tower)
    edges, known = _choose_edges(section, tower, run, tag, epochs, warnings)
    is_assumed = edges is not None and to_edges_param(_to_section(section), tower) not in run.params
    rows = [
        None if row.count(None) == HISTOGRAM_BINS and not _has_kind(kinds, i) else row
        for i, row in enumerate(map(list, zip(*whole, strict=True)))
    ]
    histogram = Histogram(
        bin_edges=edges, edges_known=known, edges_assumed=is_assumed, sampled=tag.sampled, counts=rows
    )
    return histogram, kinds, odd


def _has_kind(kinds: Mapping[str, NonFiniteKind], position: int) -> bool:
    return bool(kinds) and any(pointer.startswith(f"/counts/{position}/") for pointer in kinds)


def _to_counts(values: Series) -> list[int | None]:
    """Returns the counts; null stands for what is not a count."""
    try:
        counts: list[int | None] = list(map(int, values))  # type: ignore[arg-type]  # a None raises, as NaN does
    except (TypeError, ValueError, OverflowError):
        return list(map(_to_count, values))
    if counts == values and min(counts, default=0) >= 0 and max(counts, default=0) <= _LARGEST:  # type: ignore[type-var,operator]
        return counts
    return list(map(_to_count, values))


def _to_count(value: float | None) -> int | None:
    if value is None or not value.is_integer() or not 0 <= value <= _LARGEST:
        return None
    return int(value)


def _choose_edges(
    section: str, tower: str, run: RawRun, tag: StatisticsTag, epochs: int, warnings: list[str]
) -> tuple[list[float] | None, EdgesKnown]:
    param = to_edges_param(_to_section(section), tower)
    path = to_path(section, tower, "histogram", "bin_edges")
    text = run.params.get(param)
    if text is None:
        if section == "gradient_stats":
            warnings.append(f"`{path}`: the run has no param {param}; the legacy code's fixed range is taken")
            return _fixed_edges(), "all"
        warnings.append(f"`{path}`: the run has no param {param}; the edges are not known")
        return None, "none"
    edges = _parse(text)
    if edges is not None and tag.bin_edges is not None and to_edges_text(tag.bin_edges) == text:
        edges = tag.bin_edges  # the same ones, before they were rounded
    # Counts of all epochs on the same edges: gradients always, weights where the run says so or has one epoch only.
    constant = section == "gradient_stats" or run.tags.get(EDGES_TAG) == "constant" or epochs == 1
    if edges is not None and all(left < right for left, right in pairwise(edges)):
        return edges, "all" if constant else "first_epoch"
    if edges is not None and all(left <= right for left, right in pairwise(edges)) and section == "weight_stats":
        return edges, "first_epoch"  # repeated: rounded to 6 decimals when they were logged
    found = f"{text.count(',') + 1} parts in {len(text)} characters" if edges is None else "edges that do not rise"
    warnings.append(f"`{path}`: param {param} must hold {HISTOGRAM_BINS + 1} rising numbers; got {found}; not known")
    return None, "none"


def _to_section(section: str) -> Literal["gradient_stats", "weight_stats"]:
    return "gradient_stats" if section == "gradient_stats" else "weight_stats"


def _parse(text: str) -> list[float] | None:
    """Returns the 26 numbers; None if they are cut, fewer, or none."""
    if len(text) == _CUT_LENGTH:
        return None
    try:
        edges = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return edges if len(edges) == HISTOGRAM_BINS + 1 and all(map(math.isfinite, edges)) else None


def _fixed_edges() -> list[float]:
    """Returns the edges as the legacy code would have logged them: with 6 decimals."""
    first, last = GRADIENT_RANGE
    return [round(first + (last - first) * i / HISTOGRAM_BINS, 6) for i in range(HISTOGRAM_BINS + 1)]
