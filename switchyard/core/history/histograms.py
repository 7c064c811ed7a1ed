"""The published histograms: one gzipped JSON per kind and tower, served as it is stored."""

import msgspec

from switchyard.core.history.packing import to_gzip
from switchyard.core.history.publication import HistogramRow
from switchyard.core.metrics.record import TOWERS, Histogram, MetricsRecord


def to_histogram_rows(record: MetricsRecord) -> list[HistogramRow]:
    """Returns a row for each histogram that the record has, all epochs. Equal content gives equal bytes."""
    return [
        HistogramRow(kind=kind, tower=tower, gzip_json=_to_gzip(record.epochs, statistics[tower].histogram))
        for kind, statistics in (("weights", record.weight_stats), ("gradients", record.gradient_stats))
        for tower in TOWERS
        if tower in statistics and statistics[tower].histogram is not None
    ]


def _to_gzip(epochs: list[int], histogram: Histogram | None) -> bytes:
    assert histogram is not None
    content = {
        "available": True,
        "epochs": epochs,
        "bin_edges": histogram.bin_edges,
        "edges_known": histogram.edges_known,
        **({"edges_assumed": True} if histogram.edges_assumed else {}),
        "sampled": histogram.sampled,
        "counts": histogram.counts,
    }
    return to_gzip(msgspec.json.encode(content))
