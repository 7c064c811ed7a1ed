"""Limits how often one caller may ask; each process counts for itself, in memory."""

import time
from collections.abc import Callable
from http import HTTPStatus
from threading import Lock
from typing import Final

from limits import RateLimitItem, parse
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import Scope

from serving.access import TOKEN
from serving.predictions.replies import Refused
from switchyard.core.errors import BadSetup

DEFAULT_RATE: Final = "1000/second"
NO_LIMIT: Final = "none"
SWEEP_S: Final = 60.0
"""The time between two removals of windows that are over; a caller of a single request is remembered that long."""


class Rate:
    """The limit on requests of one caller, known by its token's name, or by its address if there are no tokens."""

    def __init__(self, text: str, *, workers: int = 1) -> None:
        self._item = _parse(text)
        if self._item is not None and workers > 1:
            share = max(1, self._item.amount // workers)
            self._item = type(self._item)(share, self._item.multiples)
        self._limiter = FixedWindowRateLimiter(Windows())

    def check(self, scope: Scope) -> None:
        """Counts a request. Raises: Refused: it is above the limit."""
        if self._item is None:
            return
        token = scope.get(TOKEN)
        caller = f"token {token.name}" if token else f"address {(scope.get('client') or ('',))[0]}"
        if not self._limiter.hit(self._item, caller):
            until = self._limiter.get_window_stats(self._item, caller).reset_time
            wait_s = max(1, round(until - time.time() + 0.5))
            said = f"this caller asks more often than {self._item}; wait {wait_s} s, or ask for several buyers at once"
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, said, retry_after_s=wait_s)


class Windows(Storage):
    """The limiter's storage: a count and the end of its window for each key. Safe for several threads.

    The library's own storage in memory starts a thread every 10 ms to remove windows that are over, which halved the
    requests per second on a busy machine. Here a request does it, once every `SWEEP_S`.
    """

    STORAGE_SCHEME = None  # the storage is passed as an object, never named by a URI

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._windows: dict[str, tuple[int, float]] = {}
        self._next_sweep = clock() + SWEEP_S

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def base_exceptions(self) -> type[Exception]:
        """The storage's own exceptions; it has none."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Adds `amount` and returns the count, in a window that ends `expiry` seconds after its first request."""
        now = self._clock()
        with self._lock:
            if now >= self._next_sweep:
                self._sweep(now)
            count, until = self._windows.get(key, (0, 0.0))
            if now >= until:
                count, until = 0, now + expiry
            count += amount
            self._windows[key] = count, until
        return count

    def get(self, key: str) -> int:
        """Returns the count of the current window; 0 if there is none."""
        count, until = self._windows.get(key, (0, 0.0))
        return count if self._clock() < until else 0

    def get_expiry(self, key: str) -> float:
        """Returns when the window ends; now, if there is none."""
        return self._windows[key][1] if key in self._windows else self._clock()

    def check(self) -> bool:
        """Returns True: memory is always there."""
        return True

    def reset(self) -> int | None:
        """Removes all windows. A second call does nothing."""
        with self._lock:
            count = len(self._windows)
            self._windows.clear()
        return count

    def clear(self, key: str) -> None:
        """Removes one window. A second call does nothing."""
        with self._lock:
            self._windows.pop(key, None)

    def _sweep(self, now: float) -> None:
        self._next_sweep = now + SWEEP_S
        self._windows = {key: kept for key, kept in self._windows.items() if now < kept[1]}


def _parse(text: str) -> RateLimitItem | None:
    if text == NO_LIMIT:
        return None
    try:
        return parse(text)
    except ValueError as err:
        raise BadSetup(f"PREDICT_RATE must be like 100/second or 5000/minute, or {NO_LIMIT}; got {text!r}") from err
