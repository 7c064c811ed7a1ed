"""Keys of a metrics file that this version does not know, and values that may be any JSON.

They are kept and never judged, so their number is limited.
"""

from typing import Any

from switchyard.core.metrics.checks import Checks
from switchyard.core.metrics.nonfinite import MAX_DEPTH
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.sizes import MAX_ITEMS, count_items

_ALL_KEPT = "with all other params and unknown keys of the file"


def keep_unknown(
    found: dict[str, Any], known: frozenset[str], names: tuple[str, ...], unknown: dict[str, Any], checks: Checks
) -> None:
    """Files each key of `found` that is not `known` under its path, with a warning."""
    for name, value in found.items():
        if name not in known:
            path = checks.path(*names, name)
            unknown[to_path(*names, name)] = keep_any(value, path, checks)
            checks.warn(path, "is not a known key; it is kept")


def keep_any(value: Any, path: str, checks: Checks) -> Any:
    """Returns a value that may be any JSON, if it is not nested too deep, and all such values are not too many."""
    if is_deeper(value, MAX_DEPTH):
        checks.refuse(path, f"be nested at most {MAX_DEPTH} deep", "more")
        return value
    room = MAX_ITEMS - checks.kept_items
    items = 1 + count_items(value, MAX_ITEMS)
    if items > room >= 0:  # said of the one that is too many, and of none after it
        checks.refuse(path, f"have, {_ALL_KEPT}, at most {MAX_ITEMS} items", "more")
    checks.kept_items += items
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Returns True when `value` has arrays and objects inside each other more than `levels` deep."""
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(item, levels - 1) for item in items)
