"""When a training ends before its last epoch: it was asked to stop, has stalled, or its numbers are not finite.

SIGTERM is only a request: the handler remembers it, and the training ends itself at the next batch boundary. Where one
call makes many steps, that is the end of the call (20 steps at most; a large step is a call by itself).
Google Cloud and our own launcher send SIGTERM and wait 30 s before they kill the process.
"""

import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

NON_FINITE_EPOCHS = 3  # in a row, and the training is given up: weights that are nan stay nan

RECALL_K = 10  # early stopping by recall counts the pairs with a product among the first ten

EXIT_STOPPED = 128 + signal.SIGTERM  # 143, what a shell reports for a process that SIGTERM ended


class Stopped(Exception):
    """The training was asked to stop and has reached a point where it can."""


class StopWish:
    """Whether SIGTERM has come since `listen`."""

    def __init__(self) -> None:
        self.made = False

    def listen(self) -> None:
        """Handles SIGTERM from now on. A second call changes nothing."""
        signal.signal(signal.SIGTERM, self._remember)

    def check(self) -> None:
        """Raises: Stopped: SIGTERM has come."""
        if self.made:
            raise Stopped

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.made = True


def is_stalled(losses: Sequence[float], patience: int) -> bool:
    """Returns whether none of the last `patience` epochs had a lower loss than all before it; `patience` 0: never.

    It depends on the losses alone (Keras' EarlyStopping counts in memory), so a restart decides the same.

    >>> is_stalled([3, 2, 2.5, 2.5], patience=2), is_stalled([3, 2, 2.5, 1.9], patience=2)
    (True, False)
    """
    known = [math.inf if math.isnan(loss) else loss for loss in losses]
    return 0 < patience < len(known) and known.index(min(known)) < len(known) - patience


@dataclass(frozen=True)
class NotFinite:
    """Where a number that is not finite was first seen; `epoch` and `step` from 0, the step over the whole run."""

    epoch: int
    step: int
    what: str  # "the loss was nan"


class FiniteWatch:
    """Counts the epochs in a row in which a training was not finite, and remembers where that began.

    >>> watch = FiniteWatch()
    >>> watch.note(NotFinite(4, 93, "the loss was nan")); watch.end_epoch()
    >>> watch.epochs, watch.began.step, watch.is_lost
    (1, 93, False)
    >>> watch.end_epoch()  # nothing was noted in this epoch, so it was finite
    >>> watch.epochs, watch.began
    (0, None)
    """

    def __init__(self) -> None:
        self.began: NotFinite | None = None
        self.epochs = 0
        self._is_noted = False

    @property
    def is_lost(self) -> bool:
        """True when it is useless to go on."""
        return self.epochs >= NON_FINITE_EPOCHS

    def note(self, found: NotFinite) -> None:
        """Notes that the current epoch is not finite."""
        self._is_noted = True
        self.began = self.began or found

    def end_epoch(self) -> None:
        """Counts the epoch if it was not finite; a finite one sets the count back to 0."""
        self.epochs = self.epochs + 1 if self._is_noted else 0
        self.began = self.began if self._is_noted else None
        self._is_noted = False
