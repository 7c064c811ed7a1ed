"""What a Keras model is made of, by the configuration that its file has: read as data before Keras reads it."""

from collections.abc import Iterator
from typing import Any, Final

SHOWN: Final = 5
OLDEST: Final = (3, 13, 2)
"""Older ones run code of a file in spite of `safe_mode`. Source: CVE-2025-1550, -8747, -9905, -9906, CVE-2026-1462."""
_PROGRAMS: Final = frozenset({"Lambda", "TFSMLayer", "__lambda__"})
_KNOWN: Final = frozenset({"keras", "builtins", "tensorflow", "tf_keras"})
"""The modules that Keras, new and old, names for what is its own. Keras then refuses what is not."""


def is_new_enough(version: str) -> bool:
    """Returns whether this Keras may read files of other people.

    >>> is_new_enough("3.15.1"), is_new_enough("3.13.1"), is_new_enough("2.15.0"), is_new_enough("4.0.0rc1")
    (True, False, False, True)
    """
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:2])
    last = version.split(".")[2] if version.count(".") >= 2 else "0"
    digits = last[: len(last) - len(last.lstrip("0123456789"))]
    return (*numbers, int(digits or 0)) >= OLDEST


def find_config_problems(config: Any) -> list[str]:
    """Returns why a model of this configuration is not served; empty: it may be.

    >>> find_config_problems({"class_name": "Lambda", "config": {"name": "double", "function": ["4wEA"]}})
    ["the layer 'double' is a Lambda, which is a program; layers like it are not served"]
    """
    problems = []
    for each in _list_objects(config):
        inner = each.get("config")
        details = inner if isinstance(inner, dict) else {}
        kind, module = each["class_name"], each.get("module")
        name = str(details.get("name") or each.get("name") or kind)[:80]
        if kind in _PROGRAMS:
            problems.append(
                f"the layer {name!r} is a {str(kind)[:40]}, which is a program; layers like it are not served"
            )
        elif isinstance(module, str) and module.partition(".")[0] not in _KNOWN:
            problems.append(
                f"the layer {name!r} is of the module {module[:80]!r}; only layers of Keras' own are served"
            )
        if isinstance(details.get("vocabulary"), str):
            problems.append(f"the layer {name!r} reads its vocabulary from a file; only lists of words are served")
    more = [f"and {len(problems) - SHOWN:,} more problems"] if len(problems) > SHOWN else []
    return problems[:SHOWN] + more


def _list_objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yields each object that names a class, at any depth."""
    left = [config]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            if isinstance(each.get("class_name"), str):
                yield each
                if each["class_name"] in _PROGRAMS:
                    continue  # what is in a program is said by its name
            left.extend(reversed(list(each.values())))
        elif isinstance(each, list):
            left.extend(reversed(each))
