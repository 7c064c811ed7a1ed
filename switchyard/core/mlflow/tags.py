"""What an MLflow run's tags say of its statistics, because no metric and no param can.

They say whether the statistics are estimates, and give the histograms' edges exactly, where the legacy params have six
decimals.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import HISTOGRAM_BINS, MetricsRecord

MAX_TAG_LENGTH: Final = 5000
"""Source: MAX_TAG_VAL_LENGTH, mlflow/utils/validation.py, 2.9.2."""
EDGE_DECIMALS: Final = 6
"""The decimals of an edge in a param, as the legacy code logged them."""
_PLAIN: Final = (bool, int, float, str)


class StatisticsTag(msgspec.Struct, frozen=True, kw_only=True):
    """The tag ``switchyard.weight_stats.query`` and the like, as JSON."""

    bin_edges: list[float] | None = None  # None: there is no histogram
    sampled: bool = False  # the histogram's counts are an estimate
    other: dict[str, bool | int | float | str] = {}  # what stands beside the series


def to_statistics_tags(record: MetricsRecord) -> dict[str, str]:
    """Returns a tag for each tower's statistics of weights and of gradients.

    A tag that MLflow would refuse is left out.
    """
    tags = {}
    for section in ("weight_stats", "gradient_stats"):
        for tower, statistics in getattr(record, section).items():
            histogram = statistics.histogram
            said = StatisticsTag(
                bin_edges=histogram.bin_edges if histogram else None,
                sampled=bool(histogram and histogram.sampled),
                other={name: item for name, item in statistics.other.items() if isinstance(item, _PLAIN)},
            )
            text = msgspec.json.encode(said).decode()
            if len(text) <= MAX_TAG_LENGTH:
                tags[_to_name(section, tower)] = text
    return tags


def read_statistics_tag(tags: Mapping[str, str], section: str, tower: str) -> StatisticsTag:
    """Returns what the tag says; an empty one where the run has none, or someone wrote something else there."""
    try:
        found = msgspec.json.decode(tags.get(_to_name(section, tower), "{}"), type=StatisticsTag)
    except msgspec.DecodeError:
        return StatisticsTag()
    if found.bin_edges is not None and len(found.bin_edges) != HISTOGRAM_BINS + 1:
        return StatisticsTag()
    return found


def to_edges_text(edges: list[float]) -> str:
    """Returns the edges as the legacy code logged them: numbers of six decimals with commas between them.

    >>> to_edges_text([-1.0, 0.31622776601683794])
    '-1.000000,0.316228'
    """
    return ",".join(f"{edge:.{EDGE_DECIMALS}f}" for edge in edges)


def _to_name(section: str, tower: str) -> str:
    return f"switchyard.{to_path(section, tower)}"
