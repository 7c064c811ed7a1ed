"""SIGTERM as a wish: the handler only remembers it, and the training ends itself at the next batch boundary.

Google Cloud and our own launcher send SIGTERM and wait (30 s) before they kill.
"""

import signal
from types import FrameType

EXIT_STOPPED = 128 + signal.SIGTERM  # 143, what a shell reports of a process that SIGTERM ended


class Stopped(Exception):
    """The training was asked to stop and has reached a place where it can."""


class StopWish:
    """Whether SIGTERM has come since `listen`."""

    def __init__(self) -> None:
        self.made = False

    def listen(self) -> None:
        """Takes SIGTERM over, from now on. A second call changes nothing."""
        signal.signal(signal.SIGTERM, self._remember)

    def check(self) -> None:
        """Raises: Stopped: SIGTERM has come."""
        if self.made:
            raise Stopped

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.made = True
