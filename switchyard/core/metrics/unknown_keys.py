"""Keys of a metrics file that this version does not know, and values that may be any JSON: kept, never judged."""

from typing import Any

from switchyard.core.metrics.checks import Checks
from switchyard.core.metrics.nonfinite import MAX_DEPTH
from switchyard.core.metrics.paths import to_path


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
    """A value that may be any JSON, as long as it is not nested too deep to be walked."""
    if is_deeper(value, MAX_DEPTH):
        checks.refuse(path, f"be nested at most {MAX_DEPTH} deep", "more")
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """True when `value` has arrays and objects inside each other more than `levels` deep."""
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(item, levels - 1) for item in items)
