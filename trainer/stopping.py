"""When a training ends before its last epoch: it was asked to, or has stalled.

SIGTERM is a wish: the handler only remembers it, and the training ends itself at the next batch boundary.
Google Cloud and our own launcher send SIGTERM and wait (30 s) before they kill.
"""

import math
import signal
from collections.abc import Sequence
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


def is_stalled(losses: Sequence[float], patience: int) -> bool:
    """True when none of the last `patience` epochs' losses was below all before it; `patience` 0: never.

    Decided from the losses alone (Keras' EarlyStopping counts in memory), so that a restart decides the same.

    >>> is_stalled([3, 2, 2.5, 2.5], patience=2), is_stalled([3, 2, 2.5, 1.9], patience=2)
    (True, False)
    """
    known = [math.inf if math.isnan(loss) else loss for loss in losses]
    return 0 < patience < len(known) and known.index(min(known)) < len(known) - patience
