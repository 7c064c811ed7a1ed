"""Faults that a test orders of an emulator: which call they hit, and what happens to it. Counts all calls, too."""

import threading
from collections import Counter
from fnmatch import fnmatchcase

import msgspec


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Hits calls number `nth` to `nth + times - 1` among those of `kind` on `target` (both are globs)."""

    kind: str = "*"  # e.g. objects.insert; what kinds there are is the emulator's to say
    target: str = "*"  # what the call is about: an object's name
    nth: int = 1
    times: int = 1
    status: int = 0  # answer this HTTP status instead; 0: the true answer
    message: str = ""  # the words of that answer; empty: the emulator's own
    after: bool = False  # the call takes effect before its answer is replaced or lost
    flip: bool = False  # one bit of what the call brings is another when it arrives
    empty: bool = False  # a list answers as if there were nothing to list
    stale: bool = False  # a list still shows what was deleted
    error: str = ""  # the long operation that the call begins ends with this error, and without its effect
    broken: bool = False  # the connection is cut in mid-answer
    delay_s: float = 0.0  # wait before the answer; the call has taken effect if `after`
    hold: bool = False  # wait until the fault is forgotten (DELETE): stops a caller at an exact point
    seen: int = 0  # calls that matched so far


class Faults:
    """The faults ordered and the calls seen. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._calls: list[tuple[str, str]] = []
        self._released = threading.Condition(self._lock)

    def order(self, fault: Fault) -> None:
        """From now on `fault` hits."""
        with self._lock:
            self._faults.append(fault)

    def forget(self) -> None:
        """No more faults; calls that were held go on; counting starts again."""
        with self._lock:
            self._faults.clear()
            self._calls.clear()
            self._released.notify_all()

    def take(self, kind: str, target: str) -> Fault:
        """Counts the call; returns what shall happen to it (a fault that does nothing, when nothing shall)."""
        with self._lock:
            self._calls.append((kind, target))
            hit = Fault()
            for fault in self._faults:
                if fnmatchcase(kind, fault.kind) and fnmatchcase(target, fault.target):
                    fault.seen += 1
                    if fault.nth <= fault.seen < fault.nth + fault.times:
                        hit = fault
            return hit

    def wait_released(self, fault: Fault) -> None:
        """Returns once `fault` is forgotten."""
        with self._released:
            self._released.wait_for(lambda: all(fault is not other for other in self._faults), timeout=120)

    def count(self, kind: str = "*", target: str = "*") -> int:
        """How many calls of `kind` on `target` (globs) there were."""
        with self._lock:
            return sum(fnmatchcase(k, kind) and fnmatchcase(t, target) for k, t in self._calls)

    def counts(self) -> dict[str, int]:
        """How many calls of each kind there were."""
        with self._lock:
            return dict(Counter(kind for kind, _ in self._calls))
