"""Which metric a page of runs shows first, where no one has chosen one."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from switchyard.core.comparison.fields import Field
from switchyard.core.history.best import find_direction

USUAL: Final = "test_recall_at_10"
_WORDS: Final = ("recall", "ndcg", "hit", "map", "mrr", "precision", "auc", "f1", "acc")
"""Words of names, the most telling first."""
_BASELINES: Final = ("popularity", "baseline")


def choose_metric(names: Iterable[str]) -> str:
    """Chooses the metric that says most of a recommender, of the `names` of the metrics of all shown runs.

    A name is there once for each run that has it. Measured on the test, at 10, and of most runs goes first. `USUAL`
    where there is none.

    >>> choose_metric(["val_recall_at_10", "test_recall_at_5", "test_recall_at_10", "accuracy"])
    'test_recall_at_10'
    >>> choose_metric(["accuracy", "popularity_recall_at_10", "final_loss"]), choose_metric([])
    ('accuracy', 'test_recall_at_10')
    """
    counts = Counter(names)
    good = [name for name in counts if find_direction(name) and not any(word in name for word in _BASELINES)]
    return min(good, key=lambda name: (*_rank(name), -counts[name], name), default=USUAL)


def _rank(name: str) -> tuple[int, int, bool]:
    lower = name.lower()
    place = next((place for place, word in enumerate(_WORDS) if word in lower), len(_WORDS))
    part = 0 if lower.startswith("test") else 1 if lower.startswith(("val", "eval")) else 2
    if find_direction(name) == "min":
        place = len(_WORDS) + 1
    return place, part, not lower.endswith("10")


def list_metrics(values: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the names of all metrics among values by field, as often as they are there."""
    return [to_name(key) for of_run in values for key in of_run if key.startswith("metrics.")]


def to_name(key: str) -> str:
    """Returns the metric's name of a field as a filter has it, without parsing it.

    >>> to_name("metrics.`an ``odd`` one`")
    'an `odd` one'
    """
    name = key.partition(".")[2]
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def to_metric(name: str) -> Field:
    """Returns the field of a metric's name."""
    return Field("metrics", name)
