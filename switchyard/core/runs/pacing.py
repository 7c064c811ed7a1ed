"""How often jobs are looked at.

A job that a flow waits for is looked at often at first, then less and less often, and never in step with others. Jobs
that messages tell of are looked at N a minute at most.
"""

import threading
from collections import deque

import msgspec

GROWTH = 12.0
"""An interval is a twelfth of the time waited so far: between floor and cap, an end is noticed 8 % late."""
JITTER = 0.2


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """The shortest and the longest time between two looks [s]."""

    floor_s: float
    cap_s: float


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one task asks while a flow waits for a job; all times in seconds."""

    interval_s: float = 0.0  # between two looks; 0: at the backend's own pace
    waited_s: float = 0.0  # since the first look at this job, in earlier tasks
    hold_s: float = 0.0  # progress alone is not news sooner than this
    for_s: float  # then the task answers with the job as it is


ON_THIS_MACHINE = Pace(floor_s=0.25, cap_s=2.0)
ON_VERTEX = Pace(floor_s=10.0, cap_s=60.0)
"""A look is one of 600 requests that a project has a minute in a region; a job there takes minutes to start.

Source: https://cloud.google.com/vertex-ai/docs/quotas
"""


def to_interval_s(pace: Pace, waited_s: float, chance: float) -> float:
    """Returns seconds until the next look, `waited_s` after the first; `chance` in [0, 1) moves it 20 % either way."""
    interval_s = max(pace.floor_s, waited_s / GROWTH) * (1 + JITTER * (2 * chance - 1))
    return min(pace.cap_s, interval_s)


class MinuteBudget:
    """Allows N in any minute, and no more. Thread-safe."""

    def __init__(self, a_minute: int) -> None:
        self._taken_s: deque[float] = deque(maxlen=a_minute)
        self._lock = threading.Lock()

    def take(self, now_s: float) -> bool:
        """Takes one and returns True, unless those of the last 60 s were all; `now_s`: of a clock that never goes back.

        >>> budget = MinuteBudget(2)
        >>> [budget.take(now_s) for now_s in (0, 1, 59, 60, 60.5)]
        [True, True, False, True, False]
        """
        with self._lock:
            # The oldest of as many as there may be: the queue forgets those before it.
            if len(self._taken_s) == self._taken_s.maxlen and now_s - self._taken_s[0] < 60:
                return False
            self._taken_s.append(now_s)
            return True
