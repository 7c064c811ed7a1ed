"""What a list shows of a run beside its row and values: notes, a small curve of its loss, and the run that it is of."""

import json
from typing import Any, Final

import msgspec

from switchyard.core.history.best import find_direction

MAX_CHARACTERS: Final = 400_000
"""A longer history has no small curve: a page of lists must not read fifty of a megabyte each."""
MAX_NOTES: Final = 400
"""Characters of the notes that a list has use for."""


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """An outline as it is stored."""

    notes: str = ""  # the first `MAX_NOTES` characters
    history_json: str | None = None  # None: nothing is published, or more than `MAX_CHARACTERS`


class SmallCurve(msgspec.Struct, frozen=True):
    """One series of a run; None if it has no finite value."""

    name: str
    values: list[float | None]


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn of a history."""

    curve: SmallCurve | None = None  # None: it has no curve on epochs
    parent_id: int | None = None
    parent: str = ""  # the MLflow run that it is nested in; empty: in none


class _History(msgspec.Struct):
    loss: Any = None
    metrics: Any = None
    parent: Any = None


_DECODER: Final = msgspec.json.Decoder(_History)


def read_outline(history_json: str | None) -> Drawn:
    """Reads the outline from a stored text, whichever program wrote it.

    What cannot be read has nothing to draw.
    """
    if history_json is None:
        return Drawn()
    try:
        found = _DECODER.decode(history_json)
    except (msgspec.DecodeError, RecursionError):
        found = _read_legacy(history_json)
    parent = found.parent if isinstance(found.parent, dict) else {}
    id_ = parent.get("quick_test_id")
    return Drawn(
        curve=_choose_curve(found),
        parent_id=id_ if isinstance(id_, int) else None,
        parent=str(parent.get("mlflow_run_id") or ""),
    )


def _read_legacy(text: str) -> _History:
    """Reads a legacy text, with tokens that are not JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return _History()
    if not isinstance(found, dict):
        return _History()
    return _History(loss=found.get("loss"))


def _choose_curve(history: _History) -> SmallCurve | None:
    """Chooses the validation loss, else the training loss, else the first metric that has a direction.

    A metric has a direction if its name says which way is better.
    """
    loss = history.loss if isinstance(history.loss, dict) else {}
    metrics = history.metrics if isinstance(history.metrics, dict) else {}
    known = [("val_loss", loss.get("val")), ("loss", loss.get("train"))]
    for name, values in (*known, *((name, metrics[name]) for name in metrics if find_direction(name))):
        curve = [_to_finite(value) for value in values] if isinstance(values, list) else []
        if sum(value is not None for value in curve) > 1:
            return SmallCurve(name, curve)
    return None


def _to_finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e308:
        return None
    return float(value)
