"""When a training ends before its last epoch: it was asked to, has stalled, or has lost its numbers.

SIGTERM is a wish: the handler only remembers it, and the training ends itself at the next batch boundary,
or where many steps are one call at the call's end (20 steps at most; large ones are a call each).
Google Cloud and our own launcher send SIGTERM and wait (30 s) before they kill.
"""

import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

NON_FINITE_EPOCHS = 3  # so many running, and the training is given up: weights that are no numbers stay so

RECALL_K = 10  # early stopping by recall counts the pairs whose product is among the first ten

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


@dataclass(frozen=True)
class NotFinite:
    """Where numbers were first seen not to be finite; `epoch` and `step` from 0, the step over the whole run."""

    epoch: int
    step: int
    what: str  # "the loss was nan"


class FiniteWatch:
    """For how many epochs running a training has not been finite, and where that began.

    >>> watch = FiniteWatch()
    >>> watch.note(NotFinite(4, 93, "the loss was nan")); watch.end_epoch()
    >>> watch.epochs, watch.began.step, watch.is_lost
    (1, 93, False)
    >>> watch.end_epoch()  # nothing was noted in this epoch: it was finite
    >>> watch.epochs, watch.began
    (0, None)
    """

    def __init__(self) -> None:
        self.began: NotFinite | None = None
        self.epochs = 0
        self._is_noted = False

    @property
    def is_lost(self) -> bool:
        """True when there is no use in going on."""
        return self.epochs >= NON_FINITE_EPOCHS

    def note(self, found: NotFinite) -> None:
        """Says that the epoch under way is not finite."""
        self._is_noted = True
        self.began = self.began or found

    def end_epoch(self) -> None:
        """Counts the epoch; a finite one ends the row of those that were not."""
        self.epochs = self.epochs + 1 if self._is_noted else 0
        self.began = self.began if self._is_noted else None
        self._is_noted = False
