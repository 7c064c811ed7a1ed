"""Where an answer is computed: short work at once, for a thread costs more than it saves; long work in a thread, so
that health checks go on; and beyond what threads can keep up with, a refusal, for a queue only makes all wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, TypeVar

from serving.predictions.replies import Refused

T = TypeVar("T")

SHORT: Final = 400_000
"""Scores: about four milliseconds."""
WAITS: Final = SHORT + 1
"""In the place of a number of scores, where another process is waited for."""
THREADS: Final = 2
WAITING: Final = 32


class Work:
    """A few threads, and a bound on what waits for them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="predict")
        self._pending = 0

    async def do(self, work: Callable[[], T], *, scores: int) -> T:
        """What `work` returns, which computes so many scores. Raises: Refused: too much is waiting already."""
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
        """Waits for no one. A second call does nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
