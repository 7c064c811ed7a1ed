"""The names that the legacy training code gave its series, in its files and in MLflow, and version 1's for them."""

import re
from functools import lru_cache
from typing import Final, Literal

import msgspec

from switchyard.core.metrics.paths import to_names
from switchyard.core.metrics.record import GRADIENT_SERIES, HISTOGRAM_BINS, LOSS_SERIES, PUBLISHED_LOSS, TOWERS

LOSS_NAMES = PUBLISHED_LOSS
"""Some legacy collectors wrote the published history's names (``train``, ``val``, ...) into the file already."""

GRADIENT_NAMES = {
    "weight_norm": "total",
    "query_weight_norm": "query",
    "candidate_weight_norm": "candidate",
}
"""The L2 norms of the weights, as they were logged to MLflow."""

FINAL_PREFIXES: Final = ("final_", "test_", "popularity_recall_at_")
"""What a run says once, at its end; the last one is our own trainer's."""

GRADIENT_RANGE: Final = (-1.0, 1.0)
"""Over which the legacy code counted gradients, in every run and every epoch."""

CHARTED_KEYS: Final = frozenset((*LOSS_SERIES, *GRADIENT_NAMES))
"""The metric keys with the run's epochs as steps."""

Section = Literal["loss", "gradient", "weight_stats", "gradient_stats", "final_metrics", "metrics"]

_TOWER = "|".join(TOWERS)
_STATISTIC = re.compile(
    rf"(?P<tower>{_TOWER})_(?:weights_(?P<weights>mean|std|min|max|norm)"
    r"|grad_(?P<gradients>mean|std|min|max|norm|std_with_zeros|touched_fraction|clipped|non_finite|steps|sampled_steps))"
)
_BIN = re.compile(rf"(?P<tower>{_TOWER})_(?P<gradients>grad_)?hist_bin_(?P<bin>0|[1-9][0-9]?)", re.ASCII)


class Place(msgspec.Struct, frozen=True):
    """Where the points of a metric key belong: `metrics` if no one knows the key. A `bin` is of a histogram."""

    section: Section
    name: str
    tower: str = ""
    bin: int | None = None


@lru_cache(maxsize=4096)
def to_place(key: str) -> Place:
    """Returns the place of an MLflow metric key.

    >>> to_place("weight_norm")
    Place(section='gradient', name='total', tower='', bin=None)
    """
    if key in LOSS_SERIES:
        return Place("loss", key)
    if key in GRADIENT_NAMES:
        assert GRADIENT_NAMES[key] in GRADIENT_SERIES
        return Place("gradient", GRADIENT_NAMES[key])
    if key.startswith(FINAL_PREFIXES):
        return Place("final_metrics", key)
    if found := _STATISTIC.fullmatch(key):
        if found["weights"]:
            return Place("weight_stats", found["weights"], found["tower"])
        return Place("gradient_stats", found["gradients"], found["tower"])
    if (found := _BIN.fullmatch(key)) and int(found["bin"]) < HISTOGRAM_BINS:
        section: Section = "gradient_stats" if found["gradients"] else "weight_stats"
        return Place(section, "histogram", found["tower"], int(found["bin"]))
    return Place("metrics", key)


def to_edges_param(section: Section, tower: str) -> str:
    """Returns the param that holds a histogram's edges: 26 numbers with commas between them."""
    return f"{tower}_grad_hist_bin_edges" if section == "gradient_stats" else f"{tower}_hist_bin_edges"


_COUNTS = re.compile(r"(?P<path>.*\.histogram)\.counts(\[(?P<bin>\d+)\])?")


def to_key(path: str) -> str:
    """Returns the metric key or param of MLflow that is at `path` in a record or a published history; empty: none.

    >>> to_key("loss.val"), to_key("gradient.query"), to_key("weight_stats.query.histogram.counts[7]")
    ('val_loss', 'query_weight_norm', 'query_hist_bin_7')
    """
    counts = _COUNTS.fullmatch(path)
    try:
        section, *names = to_names(counts["path"] if counts else path)
    except ValueError:
        return ""
    match section, names:
        case "loss", [name]:
            return PUBLISHED_LOSS.get(name, name)
        case "gradient", [name]:
            return next((key for key, norm in GRADIENT_NAMES.items() if norm == name), name)
        case (("metrics" | "final_metrics" | "params"), [name]):
            return name
        case "other_series", [name, *_]:
            return name
        case "series", [name, *_]:  # of the full series, where norms and statistics go by their paths
            return to_key(name) or name
        case (("weight_stats" | "gradient_stats"), [tower, "histogram", *below]):
            prefix = f"{tower}_grad_hist_bin_" if section == "gradient_stats" else f"{tower}_hist_bin_"
            return prefix + ((counts["bin"] or "*") if counts else "edges" if below == ["bin_edges"] else "*")
        case (("weight_stats" | "gradient_stats"), [tower, name]):
            return f"{tower}_grad_{name}" if section == "gradient_stats" else f"{tower}_weights_{name}"
    return ""
