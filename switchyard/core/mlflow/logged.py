"""What of a metrics record is logged to MLflow, and under which keys.

This is docs/mapping.md read from right to left, so that `core.mlflow.mapping` makes the same values of it again.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from switchyard.core.metrics.legacy_names import to_edges_param, to_key
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import MetricsRecord, Series
from switchyard.core.mlflow.histograms import EDGES_TAG
from switchyard.core.mlflow.tags import to_edges_text, to_statistics_tags
from switchyard.core.runs.ownership import to_tags

MAX_PARAM_LENGTH: Final = 6000
"""Characters of a param's value. Source: MAX_PARAM_VAL_LENGTH, mlflow/utils/validation.py, 2.9.2 and 3.17.2."""
_STATISTICS: Final = ("weight_stats", "gradient_stats")


class LoggedPoint(msgspec.Struct, frozen=True):
    """One value for MLflow; NaN and the infinities as what they are."""

    key: str
    step: int
    value: float


def list_points(record: MetricsRecord, first: int, last: int) -> list[LoggedPoint]:
    """Lists the epochs at the positions `first` to `last` - 1, in order, with all that there is a value for.

    Copies nothing but these values: it may be called at every epoch's end. A series that is shorter than the epochs
    has no values yet for those that it lacks.
    """
    rows = [
        (_to_key(*names, name), series, kinds.get(name, {}))
        for names, found, kinds in _list_series(record)
        for name, series in found.items()
    ]
    points: list[LoggedPoint] = []
    for position in range(first, min(last, len(record.epochs))):
        step = record.epochs[position]
        for key, series, kinds in rows:
            value = _find(series, position, kinds.get(str(step)))
            if value is not None:
                points.append(LoggedPoint(key, step, value))
        points += _list_counts(record, position, step)
    return points


def list_last_points(record: MetricsRecord) -> list[LoggedPoint]:
    """Lists what a run says once, at its end.

    These are the final metrics, at its last epoch, and the series on steps of their own.
    """
    step = record.epochs[-1] if record.epochs else 0
    kinds = record.non_finite.get("final_metrics", {})
    points = []
    for name, final in record.final_metrics.items():
        value = _find([final], 0, kinds.get(name, {}).get(""))
        if value is not None:
            points.append(LoggedPoint(name, step, value))
    for name, other in record.other_series.items():
        found = record.non_finite.get("other_series", {}).get(name, {})
        for position, step in enumerate(other.steps):
            value = _find(other.values, position, found.get(str(position)))
            if value is not None:
                points.append(LoggedPoint(name, step, value))
    return points


def to_logged_params(record: MetricsRecord) -> dict[str, str]:
    """Returns the params as MLflow's own client would write them, ``str(value)``, and the histograms' edges.

    The edges are 26 numbers of six decimals. A longer value than MLflow takes is cut.
    """
    params = {name: str(value)[:MAX_PARAM_LENGTH] for name, value in record.params.items()}
    for section in _STATISTICS:
        for tower, statistics in getattr(record, section).items():
            if statistics.histogram is not None and statistics.histogram.bin_edges:
                params[to_edges_param(section, tower)] = to_edges_text(statistics.histogram.bin_edges)
    return params


def to_logged_tags(record: MetricsRecord) -> dict[str, str]:
    """Returns the tags that say which run it is, that its edges are constant, and what no series says."""
    tags = to_statistics_tags(record)
    if tags:
        tags[EDGES_TAG] = "constant"
    return tags | (to_tags(record.run) if record.run else {})


def choose_shared(series: Mapping[str, str]) -> dict[str, str]:
    """Returns the digests by path that a metrics file and the MLflow run logged beside it have in common.

    They are of `core.history.publication.Digests.series`: all but the params, which a file holds as numbers and MLflow
    as texts, with the edges among them.
    """
    return {path: digest for path, digest in series.items() if not path.startswith(("params.", "params["))}


def _list_series(
    record: MetricsRecord,
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Series], Mapping[str, Mapping[str, str]]]]:
    """Yields each section with one value an epoch: its names, its series, and which values are not finite."""
    for section in ("loss", "gradient", "metrics"):
        yield (section,), getattr(record, section), record.non_finite.get(section, {})
    for section in _STATISTICS:
        for tower, statistics in getattr(record, section).items():
            yield (section, tower), statistics.series, record.non_finite.get(to_path(section, tower), {})


def _list_counts(record: MetricsRecord, position: int, step: int) -> Iterator[LoggedPoint]:
    for section in _STATISTICS:
        for tower, statistics in getattr(record, section).items():
            rows = statistics.histogram.counts if statistics.histogram is not None else []
            row = rows[position] if position < len(rows) else None
            for number, count in enumerate(row or ()):
                if count is not None:
                    yield LoggedPoint(_to_bin_key(section, tower, number), step, float(count))


def _find(values: Series, position: int, kind: str | None) -> float | None:
    """Returns the value there; None: there is none."""
    value = values[position] if position < len(values) else None
    if value is not None:
        return float(value)
    return float(kind) if kind else None


@lru_cache(maxsize=4096)
def _to_key(*names: str) -> str:
    return to_key(to_path(*names))


@lru_cache(maxsize=4096)
def _to_bin_key(section: str, tower: str, number: int) -> str:
    return to_key(f"{to_path(section, tower, 'histogram')}.counts[{number}]")
