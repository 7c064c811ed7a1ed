"""Ids of predictions: random UUIDs, with random bytes taken from the system for many ids at once.

Asking the system for each id takes longer than sorting an answer's products.
"""

import os
from threading import Lock
from typing import Final
from uuid import UUID

_BYTES: Final = 16
_AT_ONCE: Final = 256


class Ids:
    """Makes UUIDs of version 4. Safe for several threads; a forked process must make its own `Ids`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._left: list[str] = []

    def make(self) -> str:
        """Returns a new id, which no one can guess."""
        with self._lock:
            if not self._left:
                data = os.urandom(_BYTES * _AT_ONCE)
                starts = range(0, len(data), _BYTES)
                self._left = [str(UUID(bytes=data[start : start + _BYTES], version=4)) for start in starts]
            return self._left.pop()
