"""A queue for the work that follows an answer. It has a limit, and putting more into it never waits."""

from collections import deque
from collections.abc import Sequence
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Buffer(Generic[T]):
    """A queue with a bound. Many threads put, one takes.

    Who takes is woken by the first item, and by each from `wake_at` waiting ones on: it may not gather more than these.
    To be woken in between takes the processor from an answer.
    """

    def __init__(self, most: int, *, wake_at: int = 1) -> None:
        self._most, self._wake_at = most, wake_at
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Sequence[T]) -> int:
        """Takes what there is room for, and returns how many items were left out. Never waits for room."""
        with self._changed:
            before = len(self._items)
            room = 0 if self._is_closed else max(0, self._most - before)
            self._items.extend(items[:room])
            if items and (not before or len(self._items) >= self._wake_at):
                self._changed.notify()
        return max(0, len(items) - room)

    def take(self, most: int, *, gather_s: float = 0.0) -> list[T]:
        """Waits until there is something, then for `gather_s` until there are `most`; what is there then, the oldest
        first. Empty once `close` was called and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed)
            if gather_s and not self._is_closed:
                self._changed.wait_for(lambda: len(self._items) >= most or self._is_closed, gather_s)
            return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def close(self) -> None:
        """Takes nothing more; what is there can still be taken. A second call does nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
