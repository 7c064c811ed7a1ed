"""The best value of a series, where its name says which way is better."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

from switchyard.core.metrics.record import Series

Direction = Literal["min", "max"]

DIRECTIONS: Final[Mapping[str, Direction]] = {
    "loss": "min",
    "logloss": "min",
    "error": "min",
    "err": "min",
    "rmse": "min",
    "mse": "min",
    "mae": "min",
    "mape": "min",
    "perplexity": "min",
    "recall": "max",
    "precision": "max",
    "ndcg": "max",
    "mrr": "max",
    "accuracy": "max",
    "acc": "max",
    "auc": "max",
    "auroc": "max",
    "f1": "max",
    "map": "max",
}
"""Which way is better, by a word of the series' name. The last such word counts: `accuracy_loss` is a loss."""

DIRECTION_PATTERN: Final = "^(?s:.+)=(min|max)$"
"""The pattern of a parameter that says which way is better: the series' name, ``=``, ``min`` or ``max``."""
_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_CAMEL: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
_NUMBERED: Final = re.compile(r"([a-z]+)[0-9]+[a-z]?")
"""A word with the number that belongs to it: recall10, mAP50, mAP50B, loss2."""


@lru_cache(maxsize=4096)
def find_direction(name: str) -> Direction | None:
    """Returns which way is better, as the name says; None if it does not.

    >>> find_direction("val_recall_at_10"), find_direction("metrics/mAP50-95"), find_direction("valLoss")
    ('max', 'max', 'min')
    >>> find_direction("learning_rate") is None
    True
    """
    for word in reversed(_WORD.findall(name)):
        if word.lower() in DIRECTIONS:
            return DIRECTIONS[word.lower()]
        numbered = _NUMBERED.fullmatch(word.lower())
        if numbered and numbered[1] in DIRECTIONS:
            return DIRECTIONS[numbered[1]]
        for part in reversed(_CAMEL.findall(word)):
            if part.lower() in DIRECTIONS:
                return DIRECTIONS[part.lower()]
    return None


def parse_directions(given: Sequence[str]) -> dict[str, Direction]:
    """Returns the directions by series. Each text has `DIRECTION_PATTERN`; of two for one series the last counts.

    >>> parse_directions(["speed=max", "a=b=min"])
    {'speed': 'max', 'a=b': 'min'}
    """
    found: dict[str, Direction] = {}
    for text in given:
        name, _, way = text.rpartition("=")
        found[name] = "min" if way == "min" else "max"
    return found


def find_best(name: str, steps: Sequence[int], values: Series, given: Mapping[str, Direction]) -> dict[str, Any] | None:
    """Returns the first best value, [points], with its step; None if there is no best one.

    There is none if no value is finite, or nothing says which way is better. `given` goes before what the name says.
    """
    direction = given.get(name) or find_direction(name)
    if direction is None:
        return None
    finite = values if None not in values else [value for value in values if value is not None]
    if not finite:
        return None
    best = min(finite) if direction == "min" else max(finite)  # type: ignore[type-var]  # no None is left
    return {"value": best, "step": steps[values.index(best)], "direction": direction}
