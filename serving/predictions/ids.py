"""Ids of predictions: random UUIDs, for which the system is asked once in many. Asking for each alone takes longer than
sorting an answer's products."""

import os
from threading import Lock
from typing import Final
from uuid import UUID

_BYTES: Final = 16
_AT_ONCE: Final = 256


class Ids:
    """UUIDs of version 4. Safe for several threads; a forked process must make its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._left: list[str] = []

    def make(self) -> str:
        """A new one, which no one can guess."""
        with self._lock:
            if not self._left:
                data = os.urandom(_BYTES * _AT_ONCE)
                starts = range(0, len(data), _BYTES)
                self._left = [str(UUID(bytes=data[start : start + _BYTES], version=4)) for start in starts]
            return self._left.pop()
