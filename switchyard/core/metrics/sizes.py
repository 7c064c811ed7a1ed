"""How large a metrics file may be beyond its bytes: what 64 MB of JSON become in memory is up to 90 times as much.

What has a place in the contract is bounded by the bytes: numbers in lists. What may be any JSON (params, unknown keys)
is not, so it is counted, and refused by name, before anything is made of it.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from switchyard.core.metrics.checks import Checks

MAX_ITEMS: Final = 100_000
"""Values in what is kept of a file without being judged, those inside arrays and objects counted: a megabyte of JSON,
as large as a whole published history, in which params stand too."""
MAX_CONTAINERS: Final = 2_000_000
"""Arrays and objects of a whole file. Rows of 25 counts, the smallest that the contract knows, are 1.3 million in
64 MB; 20 million empty arrays are 1.6 GB, and take Python a minute."""

_SMALL_BYTES: Final = 2 * MAX_ITEMS  # an item is a character and what divides it from the next
_MARK: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|(,|[\[{]\s*+(?![\]}]))', re.DOTALL)
"""A string; or, in the group, what one more value goes with: a comma, and what opens an array or object with any."""


def refuse_large(data: bytes, judged: Iterable[str], where: str) -> None:
    """Refuses a file that would take too much memory, before it is read.

    Bytes that are not a strict JSON object pass as far as they can be counted.

    Args:
        judged: the names of the sections with values that are checked one by one.

    Raises:
        BadRecord: it has too many arrays and objects; or one of its other values has too many items.
    """
    if len(data) <= _SMALL_BYTES:
        return
    checks = Checks(where)
    containers = data.count(b"[") + data.count(b"{")
    if containers > MAX_CONTAINERS:
        checks.problems.append(f"it must have at most {MAX_CONTAINERS} arrays and objects; got {containers}")
        checks.raise_problems()
    try:
        parts = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    known = frozenset(judged)
    for name, part in parts.items():
        if name not in known and _has_more(bytes(part)):
            checks.refuse(checks.path(name), f"have at most {MAX_ITEMS} items", "more")
    checks.raise_problems()


def count_items(value: Any, at_most: int) -> int:
    """Returns how many values there are inside a JSON value, at any depth; counting stops soon after `at_most`."""
    counted, left = 0, [value]
    while left and counted <= at_most:
        found = left.pop()
        if isinstance(found, dict | list):
            counted += len(found)
            if counted <= at_most:
                left.extend(
                    item
                    for item in (found.values() if isinstance(found, dict) else found)
                    if isinstance(item, dict | list)
                )
    return counted


def _has_more(raw: bytes) -> bool:
    """Returns True if JSON that is not decoded yet has more than MAX_ITEMS values inside it; no more are counted."""
    if len(raw) <= _SMALL_BYTES:
        return False
    counted = 0
    for mark in _MARK.finditer(raw):
        counted += mark[1] is not None
        if counted > MAX_ITEMS:
            return True
    return False
