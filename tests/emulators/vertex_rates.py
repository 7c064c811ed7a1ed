"""Quotas on requests a minute, by project and region.

Source: https://cloud.google.com/vertex-ai/docs/quotas
"""

import threading
from collections import deque
from collections.abc import Callable

from google.rpc import code_pb2

from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_errors import ServiceError

_SUBMISSIONS = ("CreateCustomJob", "DeleteCustomJob")


class Rates:
    """Counts the requests of the last 60 s; a refused one does not count. Thread-safe."""

    def __init__(self, config: VertexConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], deque[float]] = {}

    def spend(self, method: str, location: str) -> None:
        """Raises: ServiceError: RESOURCE_EXHAUSTED, when a quota of this minute is used up."""
        limits = [("Resource management (CRUD) requests", self._config.requests_per_minute)]
        if method in _SUBMISSIONS:
            limits.append(("Custom job submissions", self._config.submissions_per_minute))
        with self._lock:
            now = self._clock()
            windows = [self._read_window(metric, location, now) for metric, _ in limits]
            for window, (metric, limit) in zip(windows, limits, strict=True):
                if len(window) >= limit:
                    # The words of Google's service control: https://cloud.google.com/docs/quotas/troubleshoot
                    raise ServiceError(
                        code_pb2.RESOURCE_EXHAUSTED,
                        f"Quota exceeded for quota metric '{metric}' and limit '{metric} per minute per region' of "
                        "service 'aiplatform.googleapis.com' for consumer "
                        f"'project_number:{self._config.project_number}'.",
                    )
            for window in windows:
                window.append(now)

    def _read_window(self, metric: str, location: str, now: float) -> deque[float]:
        window = self._windows.setdefault((metric, location), deque())
        while window and window[0] <= now - 60:
            window.popleft()
        return window
