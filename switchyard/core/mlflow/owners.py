"""Keeps what MLflow 3 logged for a model, or on a data set, from standing in the place of the run's own points."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from switchyard.core.mlflow.keys import BIN_KEYS
from switchyard.core.mlflow.raw_run import OwnedPoint, Points

_Owner = tuple[str, str]
_OWN: _Owner = ("", "")
_At = tuple[int, int, float | None]


def split_owned(metrics: Mapping[str, Points], owned: Sequence[OwnedPoint]) -> tuple[Mapping[str, Points], list[str]]:
    """Returns the metrics, with points of a model or a data set in series of their own where they would collide.

    They collide where they share a step of a key with others. Such a series is called ``rmse (holdout)``. Elsewhere
    they are the run's curve, as of checkpoints that were logged epoch by epoch. Also what to tell of it.
    """
    if not owned:
        return metrics, []
    by_key: dict[str, dict[_At, _Owner]] = defaultdict(dict)
    for point in owned:
        if point.key in metrics and point.key not in BIN_KEYS:
            found = by_key[point.key]
            # Noted for several models at once it is no one's alone: the first in order, whatever order they come in.
            at = _to_at(point.step, point.timestamp_ms, point.value)
            owner = (point.dataset, point.model_id)
            found[at] = min(owner, found.get(at, owner))
    split = dict(metrics)
    warnings = []
    for key in sorted(by_key):
        parts = _split(metrics[key], by_key[key])
        if not parts:
            continue
        del split[key]
        names = _name(key, list(parts), metrics)
        split |= {names[owner]: points for owner, points in parts.items()}
        shown = ", ".join(f"`{names[owner]}`" for owner in parts if owner != _OWN)
        warnings.append(f"`{key}` was also logged for a model or a data set at the same steps: charted as {shown}")
    return split, warnings


def _split(points: Points, owners: Mapping[_At, _Owner]) -> dict[_Owner, Points]:
    """Returns the points by owner, the run's own first, then by name; empty if no step has two owners."""
    rows = list(zip(points.steps, points.timestamps_ms, points.values, strict=True))
    whose = [owners.get(_to_at(*row), _OWN) for row in rows]
    by_step: dict[int, _Owner] = {}
    if all(by_step.setdefault(row[0], owner) == owner for row, owner in zip(rows, whose, strict=True)):
        return {}
    parts: dict[_Owner, list[tuple[int, int, float]]] = {owner: [] for owner in sorted(set(whose))}
    for row, owner in zip(rows, whose, strict=True):
        parts[owner].append(row)
    return {owner: Points(*map(list, zip(*found, strict=True))) for owner, found in parts.items()}


def _to_at(step: int, timestamp_ms: int, value: float) -> _At:
    return step, timestamp_ms, None if math.isnan(value) else value


def _name(key: str, owners: list[_Owner], metrics: Mapping[str, Points]) -> dict[_Owner, str]:
    datasets = [dataset for dataset, _ in owners]
    names = {}
    for dataset, model_id in owners:
        if (dataset, model_id) == _OWN:
            names[_OWN] = key
            continue
        is_enough = dataset and datasets.count(dataset) == 1
        name = f"{key} ({dataset if is_enough else ', '.join(filter(None, (dataset, model_id)))})"
        while name in metrics or name in names.values():
            name += "*"
        names[dataset, model_id] = name
    return names
