"""What a run's published history leaves out of what MLflow has of the run.

These are the cases of docs/mapping.md, as they apply to that very run, with the reason and where it is kept.
"""

import sys
from collections.abc import Sequence
from typing import Any, Final

from switchyard.core.history.full_series import MAX_POINTS
from switchyard.core.history.publication import FIRST_VERSIONS
from switchyard.core.metrics.legacy_names import to_place
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import GRADIENT_SERIES, PUBLISHED_LOSS, MetricsRecord
from switchyard.core.mlflow.facts import NOTE_TAG
from switchyard.core.mlflow.mapping_table import CASES
from switchyard.core.mlflow.raw_run import NAME_TAG, Points, RawRun
from switchyard.core.verify.findings import KeptIn, LeftOut

_NAMES: Final = 20
_LOST: Final = {case.name: case.lost for case in CASES}
_CHARTED: Final = ("loss", "gradient", "final_metrics")
_STATISTICS: Final = ("weight_stats", "gradient_stats")


def list_left_out(run: RawRun, record: MetricsRecord, history: dict[str, Any], *, has_file: bool) -> list[LeftOut]:
    """Returns what `history`, published of `record`, which was made of `run`, does not say.

    Args:
        has_file: the run's ``training_metrics.json`` holds the whole record; else an export alone does.
    """
    whole: KeptIn = "training_metrics.json" if has_file else "an export"
    is_first = history.get("schema_version") == FIRST_VERSIONS.digest
    found = [
        _to_unsampled(record, history, whole) if is_first else _to_thinned(record, history, whole),
        *(_to_uncharted if is_first else _to_unpublished)(run, record, history, whole),
        _to_overwritten(run, record),
        _to_infinities(run),
        LeftOut(
            what="times of points",
            count=sum(len(points.steps) for points in run.metrics.values()),
            kept_in="an export",
            why=_LOST["timestamps"],
        ),
        _to_named("tags", _find_tags(run, history), kept_in="an export", why=_LOST["a run without a name"]),
    ]
    return [left for left in found if left.count != 0]


def _to_unsampled(record: MetricsRecord, history: dict[str, Any], kept_in: KeptIn) -> LeftOut:
    epochs = history.get("epochs")
    kept = set(epochs) if isinstance(epochs, list) else set()
    left = [position for position, epoch in enumerate(record.epochs) if epoch not in kept]
    series = [record.loss[name] for name in PUBLISHED_LOSS.values() if name in record.loss]
    series += [record.gradient[name] for name in GRADIENT_SERIES if name in record.gradient]
    return LeftOut(
        what="values of charted series",
        count=sum(values[position] is not None for values in series for position in left),
        kept_in=kept_in,
        why="their epochs are between the sampled ones; their digests are kept, and verified",
    )


def _to_thinned(record: MetricsRecord, history: dict[str, Any], whole: KeptIn) -> LeftOut:
    """Does the same as `_to_unsampled` for version 2, in which every series is charted.

    The full series have what sampling left out, but for very long ones.
    """
    epochs = history.get("epochs")
    kept = set(epochs) if isinstance(epochs, list) else set()
    left = [position for position, epoch in enumerate(record.epochs) if epoch not in kept]
    on_axis = [*record.loss.values(), *record.gradient.values(), *record.metrics.values()]
    count = sum(values[position] is not None for values in on_axis for position in left)
    own = history.get("series")
    entries = own if isinstance(own, dict) else {}
    for name, series in record.other_series.items():
        entry = entries.get(name) or entries.get(to_path("other_series", name)) or {}
        there = entry.get("values") if isinstance(entry, dict) else None
        count += len(series.values) - (len(there) if isinstance(there, list) else 0)
    lengths = [len(record.epochs), *(len(series.values) for series in record.other_series.values())]
    return LeftOut(
        what="values of charted series",
        count=max(count, 0),
        kept_in="the full series" if max(lengths) <= MAX_POINTS else whole,
        why="their epochs are between the sampled ones; their digests are kept, and verified",
    )


def _to_unpublished(run: RawRun, record: MetricsRecord, history: dict[str, Any], whole: KeptIn) -> list[LeftOut]:
    """Returns the keys that a history of version 2 leaves out: the towers' statistics, and unpublished histograms."""
    if record.charted_only:
        left = LeftOut(
            what="histogram keys",
            kept_in=whole,
            why="published without histograms; which of them the run has was not read (--whole lists them)",
        )
        return [left, _to_statistics(run)]
    if history.get("histogram_available"):
        return [_to_statistics(run)]
    bins = [key for key in run.metrics if to_place(key).bin is not None]
    return [_to_statistics(run), _to_named("histogram keys", bins, kept_in=whole, why="published without histograms")]


def _to_statistics(run: RawRun) -> LeftOut:
    places = {key: to_place(key) for key in run.metrics}
    names = [key for key, place in places.items() if place.section in _STATISTICS and place.bin is None]
    return _to_named("keys", names, kept_in="the full series", why="a history has no statistics of the towers")


def _find_tags(run: RawRun, history: dict[str, Any]) -> list[str]:
    published = history.get("tags")
    shown = set(published) if isinstance(published, dict) else set()
    return sorted(run.tags.keys() - {NAME_TAG} - shown - ({NOTE_TAG} if "note" in shown else set()))


def _to_uncharted(run: RawRun, record: MetricsRecord, history: dict[str, Any], kept_in: KeptIn) -> list[LeftOut]:
    """Returns keys that are not part of a history of version 1."""
    if record.charted_only:
        epochs = set(record.epochs)
        beside = {
            key: len(set(points.steps)) - 1 if key in record.final_metrics else len(set(points.steps) - epochs)
            for key, points in run.metrics.items()
        }
        return [
            LeftOut(
                what="keys",
                kept_in=kept_in,
                why="only charted keys are published; which others the run has was not read (--whole lists them)",
            ),
            LeftOut(
                what="points beside the epochs",
                count=sum(beside.values()),
                kept_in=kept_in,
                why="of a final metric the last value is published, of a charted series those at epochs",
                names=sorted(key for key, count in beside.items() if count)[:_NAMES],
            ),
        ]
    places = {key: to_place(key) for key in run.metrics}
    bins = [key for key, place in places.items() if place.bin is not None]
    others = [
        key
        for key, place in places.items()
        # Also a charted key with steps that are not epochs, and a final metric with several points: charted in part.
        if place.bin is None and (place.section not in _CHARTED or key in record.other_series or key in record.metrics)
    ]
    left = [_to_named("keys", others, kept_in=kept_in, why="a published history has charted keys alone")]
    if not history.get("histogram_available"):
        left.append(_to_named("histogram keys", bins, kept_in=kept_in, why="published without histograms"))
    return left


def _to_overwritten(run: RawRun, record: MetricsRecord) -> LeftOut:
    counts = {
        key: _count_overwritten(points)
        for key, points in run.metrics.items()
        if key not in record.other_series  # there every point is kept
    }
    names = sorted(key for key, count in counts.items() if count)
    return LeftOut(
        what="values logged before another of their step",
        count=sum(counts.values()),
        kept_in="an export",
        why=_LOST["a step logged twice"],
        names=names[:_NAMES],
    )


def _count_overwritten(points: Points) -> int:
    return len(points.steps) - len(set(points.steps))


def _to_infinities(run: RawRun) -> LeftOut:
    infinities = (float("inf"), float("-inf"))
    found = {key: sum(map(points.values.count, infinities)) for key, points in run.metrics.items()}
    return LeftOut(
        what="infinities",
        count=sum(found.values()),
        kept_in="an export",
        why=_LOST["+-1.797e308"],
        names=sorted(key for key, count in found.items() if count)[:_NAMES],
    )


def _to_named(what: str, names: Sequence[str], *, kept_in: KeptIn, why: str) -> LeftOut:
    return LeftOut(what=what, count=len(names), kept_in=kept_in, why=why, names=list(map(sys.intern, names[:_NAMES])))
