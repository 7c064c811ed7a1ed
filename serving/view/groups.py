"""Finds, from a series' name, its group on the page and the series that share its chart."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from switchyard.core.history.best import find_direction

LOSSES, METRICS, OPTIMIZER, SYSTEM, OTHERS = "Losses", "Metrics", "Optimizer", "System", "Others"
_FIXED: Final = frozenset({LOSSES, METRICS, OPTIMIZER, SYSTEM, OTHERS})
_LEAST_OWN, _MOST_OWN = 3, 20
_SPLIT: Final = re.compile(r"^(train|training|val|valid|validation|test|eval)(?:[_/.\-](?=.)|(?=[A-Z]))")
_OWN_PREFIX: Final = re.compile(r"^([^/]{1,40})/(?=.)")
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_OPTIMIZER_WORDS: Final = frozenset(
    {"lr", "momentum", "beta", "beta1", "beta2", "decay", "gradient", "gradients", "grad", "optimizer", "clip"}
)
_SYSTEM_WORDS: Final = frozenset(
    {"system", "seconds", "second", "sec", "time", "duration", "cpu", "gpu", "memory", "mem", "ram", "rss", "disk"}
) | {"network", "bytes", "megabytes", "utilization", "power", "watts", "temperature", "throughput", "speed"}


def split_name(name: str) -> str:
    """Returns the name without the part of the data it was measured on: `val_recall` and `recall` share a chart.

    >>> split_name("val_recall"), split_name("train/loss"), split_name("valLoss"), split_name("val_")
    ('recall', 'loss', 'Loss', 'val_')
    """
    return name[match.end() :] if (match := _SPLIT.match(name)) else name


def to_group(name: str) -> str:
    """Returns the group of a series.

    >>> [to_group(name) for name in ("val_recall_at_10", "batch_loss", "learning_rate", "system/cpu_percent", "x")]
    ['Metrics', 'Losses', 'Optimizer', 'System', 'Others']
    >>> to_group("encoder/norm")
    'encoder'
    """
    name = split_name(name)
    own = _OWN_PREFIX.match(name)
    prefix = own[1] if own else ""
    if prefix.lower() == "system":
        return SYSTEM
    words = [word.lower() for word in _WORDS.findall(name)]
    if "loss" in words:
        return LOSSES
    if find_direction(name) is not None:
        return METRICS
    if prefix:
        return prefix
    if _OPTIMIZER_WORDS.intersection(words) or "learning rate" in " ".join(words):
        return OPTIMIZER
    return SYSTEM if _SYSTEM_WORDS.intersection(words) else OTHERS


def to_groups(names: Iterable[str]) -> dict[str, str]:
    """Returns the group of each series; a prefix that enough series share is a group too, at most twenty of them."""
    found = {name: to_group(name) for name in names}
    sizes = Counter(group for group in found.values() if group not in _FIXED)
    own = {group for group, size in sizes.most_common(_MOST_OWN) if size >= _LEAST_OWN}
    return {name: group if group in _FIXED or group in own else OTHERS for name, group in found.items()}


def in_order(groups: Iterable[str]) -> Mapping[str, int]:
    """Returns the place of each group on the page: the losses first, then metrics; the machine's series are last."""
    own = sorted(set(groups) - _FIXED)
    return {group: place for place, group in enumerate([LOSSES, METRICS, OPTIMIZER, *own, OTHERS, SYSTEM])}
