"""Every scalar series of a record under the one name that readers know it by."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from switchyard.core.metrics.nonfinite import Places
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import MetricsRecord, NonFiniteKind, Series

MAX_EXACT_STEP: Final = 2**53 - 1
"""The largest integer that every reader of JSON keeps; larger steps are published as texts."""


class Scalar(msgspec.Struct, frozen=True):
    """One series. `steps` is None if it is on the run's epochs. `section` and `key` are its place in the record."""

    name: str
    steps: Sequence[int] | None
    values: Series
    section: str
    key: str


def list_charted(record: MetricsRecord) -> Iterator[Scalar]:
    """Yields losses, metrics and series on steps of their own, by their bare names.

    Where a series on its own steps has the name of another one, it is ``other_series.<name>``.
    """
    taken: set[str] = set()
    for section in ("loss", "metrics"):
        for key, values in getattr(record, section).items():
            name = key if key not in taken else to_path(section, key)
            taken.add(name)
            yield Scalar(name, None, values, section, key)
    for key, other in record.other_series.items():
        name = key if key not in taken else to_path("other_series", key)
        taken.add(name)
        yield Scalar(name, other.steps, other.values, "other_series", key)


def list_norms(record: MetricsRecord) -> Iterator[Scalar]:
    """Lists the weights' norms (`gradient.total`) and the towers' statistics (`weight_stats.query.mean`), by path."""
    for key, values in record.gradient.items():
        yield Scalar(to_path("gradient", key), None, values, "gradient", key)
    for kind in ("weight_stats", "gradient_stats"):
        for tower, statistics in getattr(record, kind).items():
            section = to_path(kind, tower)
            for key, values in statistics.series.items():
                yield Scalar(to_path(kind, tower, key), None, values, section, key)


def find_kinds(record: MetricsRecord, places: Places, scalar: Scalar) -> dict[int, NonFiniteKind]:
    """Returns what the non-finite values of a series are, by position; nearly always empty."""
    if scalar.key not in record.non_finite.get(scalar.section, {}):
        return {}
    return places.kinds(scalar.section, scalar.key)


def to_json_steps(steps: Sequence[int]) -> list[int] | list[str]:
    """Returns the steps; all of them as texts where one is too large for a reader of JSON."""
    if steps and max(max(steps), -min(steps)) > MAX_EXACT_STEP:
        return [str(step) for step in steps]
    return list(steps)
