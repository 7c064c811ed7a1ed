"""A stored history as a comparison reads it: its curves stay the bytes that they are, and are put into the answer."""

import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.core.history.best import Direction
from switchyard.core.history.publication import Value
from switchyard.core.history.stored_series import to_stored_series
from switchyard.core.history.stored_values import to_history_values
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import PUBLISHED_LOSS

Curve = tuple[Any, Any]
"""Values and steps, each a list or its JSON; no steps (None): the run's epochs."""

_NONE: Final = (b"[]", b"null")


class PublishedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison takes of a history; `values` is asked for only if none are stored."""

    available: bool = False
    status: str | None = None
    epochs: Any = msgspec.field(default_factory=list)
    curves: Mapping[str, Curve] = {}
    params: Mapping[str, Any] = {}
    tags: Mapping[str, Any] = {}
    directions: Mapping[str, Direction] = {}
    parent: Any = None
    progress: Any = None
    text: str = ""

    @property
    def values(self) -> Sequence[Value]:
        """The values that the history itself says."""
        return to_history_values(_load(self.text)) if self.text else []


class _Best(msgspec.Struct):
    direction: Direction


class _Series(msgspec.Struct):
    steps: msgspec.Raw
    values: msgspec.Raw


class _History(msgspec.Struct):
    """A history that we have published; a legacy one has no `schema_version`."""

    schema_version: int
    epochs: msgspec.Raw
    loss: dict[str, msgspec.Raw] = {}
    gradient: dict[str, msgspec.Raw] = {}
    metrics: dict[str, msgspec.Raw] = {}
    series: dict[str, _Series] = {}
    best: dict[str, _Best] = {}
    params: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    parent: Any = None
    progress: Any = None
    status: str | None = None


_DECODER: Final = msgspec.json.Decoder(_History)


def read_published(text: str | None) -> PublishedRun:
    """Reads what a stored text publishes; None: nothing is published.

    What cannot be read has no curves and no values.
    """
    if text is None:
        return PublishedRun()
    try:
        found = _DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _read_legacy(text)
    return PublishedRun(
        available=True,
        status=found.status,
        epochs=found.epochs,
        curves=dict(_list_curves(found)),
        params=found.params,
        tags=found.tags,
        directions={name: best.direction for name, best in found.best.items()},
        parent=found.parent,
        progress=found.progress,
        text=text,
    )


def _list_curves(found: _History) -> list[tuple[str, Curve]]:
    on_epochs = [
        *((PUBLISHED_LOSS.get(name, to_path("loss", name)), values) for name, values in found.loss.items()),
        *((to_path("gradient", name), values) for name, values in found.gradient.items()),
        *found.metrics.items(),
    ]
    curves: list[tuple[str, Curve]] = [
        (name, (values, None)) for name, values in on_epochs if bytes(values) not in _NONE
    ]
    return curves + [(name, (series.values, series.steps)) for name, series in found.series.items()]


def _read_legacy(text: str) -> PublishedRun:
    """Reads a history of the legacy application: ragged, and with tokens that are not JSON."""
    stored = to_stored_series(text.encode())
    history = _load(text)
    if stored is None or not history:
        return PublishedRun(available=True)
    series = msgspec.json.decode(gzip.decompress(stored.gzip_json))
    return PublishedRun(
        available=True,
        epochs=series["epochs"],
        curves={name: (one["values"], one.get("steps")) for name, one in series["series"].items()},
        params=_to_strict(history.get("params")),
        tags=_to_strict(history.get("tags")),
        text=text,
    )


def _load(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)  # takes the tokens NaN and Infinity
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _to_strict(found: Any) -> dict[str, Any]:
    """Returns strict JSON: what is not finite is null."""
    if not isinstance(found, dict):
        return {}
    strict: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return strict
