"""Decides where an answer is computed: short work at once, long work in a thread, and too much work is refused.

For short work a thread costs more than it saves. Long work goes to a thread so that health checks are still answered.
Requests that the threads cannot keep up with are refused, because a longer queue only makes every caller wait.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, TypeVar

from serving.predictions.replies import Refused

T = TypeVar("T")

SHORT: Final = 400_000
"""The most scores that are computed at once: about four milliseconds."""
WAITS: Final = SHORT + 1
"""Given instead of a number of scores if the work waits for another process."""
THREADS: Final = 2
WAITING: Final = 32


class Work:
    """A few threads, with a limit on how many requests wait for them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="predict")
        self._pending = 0

    async def do(self, work: Callable[[], T], *, scores: int) -> T:
        """Returns what `work` returns; it computes `scores` scores. Raises: Refused: too many requests are waiting."""
        if scores <= SHORT:
            return work()
        if self._pending >= THREADS + WAITING:
            said = f"{self._pending} long requests are waiting already; try again, or start more workers (--workers)"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, said, retry_after_s=1)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Ends the threads without waiting for them. A second call does nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
