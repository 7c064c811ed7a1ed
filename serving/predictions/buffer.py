"""A queue for the work that follows an answer; it has a limit, and adding to it never waits."""

from collections import deque
from collections.abc import Sequence
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Buffer(Generic[T]):
    """A queue with a limit, which many threads add to and one thread takes from.

    The first item wakes the thread that takes, and so does each item once `wake_at` are waiting, which is as many as it
    may gather. Waking it in between would take processor time from answers.
    """

    def __init__(self, most: int, *, wake_at: int = 1) -> None:
        self._most, self._wake_at = most, wake_at
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Sequence[T]) -> int:
        """Adds the items that there is room for, and returns how many were left out. Never waits for room."""
        with self._changed:
            before = len(self._items)
            room = 0 if self._is_closed else max(0, self._most - before)
            self._items.extend(items[:room])
            if items and (not before or len(self._items) >= self._wake_at):
                self._changed.notify()
        return max(0, len(items) - room)

    def take(self, most: int, *, gather_s: float = 0.0) -> list[T]:
        """Waits for items and returns them, the oldest first; empty once the queue is closed and nothing is left.

        It waits for the first item, then up to `gather_s` seconds until there are `most`."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed)
            if gather_s and not self._is_closed:
                self._changed.wait_for(lambda: len(self._items) >= most or self._is_closed, gather_s)
            return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def close(self) -> None:
        """Accepts no more items; those that are there can still be taken. A second call does nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
