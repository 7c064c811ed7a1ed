"""How often one caller may ask. Each process counts for itself, in memory."""

import time
from http import HTTPStatus
from typing import Final

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import Scope

from serving.access import TOKEN
from serving.predictions.replies import Refused
from switchyard.core.errors import BadSetup

DEFAULT_RATE: Final = "1000/second"
NO_LIMIT: Final = "none"


class Rate:
    """At most so many requests of one caller, by its token's name, or its address where there are no tokens."""

    def __init__(self, text: str, *, workers: int = 1) -> None:
        self._item = _parse(text)
        if self._item is not None and workers > 1:
            share = max(1, self._item.amount // workers)
            self._item = type(self._item)(share, self._item.multiples)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def check(self, scope: Scope) -> None:
        """Counts a request. Raises: Refused: it is one too many."""
        if self._item is None:
            return
        token = scope.get(TOKEN)
        caller = f"token {token.name}" if token else f"address {(scope.get('client') or ('',))[0]}"
        if not self._limiter.hit(self._item, caller):
            until = self._limiter.get_window_stats(self._item, caller).reset_time
            wait_s = max(1, round(until - time.time() + 0.5))
            said = f"this caller asks more often than {self._item}; wait {wait_s} s, or ask for several buyers at once"
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, said, retry_after_s=wait_s)


def _parse(text: str) -> RateLimitItem | None:
    if text == NO_LIMIT:
        return None
    try:
        return parse(text)
    except ValueError as err:
        raise BadSetup(f"PREDICT_RATE must be like 100/second or 5000/minute, or {NO_LIMIT}; got {text!r}") from err
