"""Handles Ctrl-C and SIGTERM in a program. Import it first, before the imports that take a while."""

import os
import signal
import sys
import threading
import time
from types import TracebackType
from typing import Any

INTERRUPTED = 130
"""The exit status: 128 and SIGINT's number, as shells have it."""
_SAME_S = 1.0
_AGAIN_S = 15.0


def end_quietly() -> None:
    """Makes a KeyboardInterrupt that nothing handles end this process with one line and status 130.

    There is no traceback. A second call changes nothing.
    """
    sys.excepthook = _end


def say_interrupted() -> int:
    """Says so on stderr; returns the exit status."""
    sys.stderr.write("interrupted\n")
    sys.stderr.flush()
    return INTERRUPTED


def _end(kind: type[BaseException], err: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        os._exit(say_interrupted())
    sys.__excepthook__(kind, err, trace)


class Interrupts:
    """Makes each Ctrl-C and SIGTERM a KeyboardInterrupt in the main thread while a command is at work.

    Two of them within a second are one: `make` and `timeout` pass a SIGTERM on to a process that got it already.

    A library may lose the exception: raised in a callback, it is printed and dropped, or comes back as an error of the
    library's own (pydantic does that in a serializer, and Prefect only logs such an error). So the process is
    interrupted again every 15 seconds, until the command has called `arrived`.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._last, self._number = float("-inf"), int(signal.SIGINT)
        self._is_over = False
        self._arrived = threading.Event()

    @property
    def is_asked(self) -> bool:
        """True if there was one."""
        return self._last > float("-inf")

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's background jobs ignore Ctrl-C
                    self._before[number] = signal.signal(number, self._interrupt)
            threading.Thread(target=self._insist, name="interrupts", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._arrived.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def arrived(self) -> None:
        """Says that the command knows of the interrupt: it is not interrupted again."""
        self._arrived.set()

    def end(self) -> None:
        """Lets the next one end the process at once, whatever still is to be done at its exit."""
        self._is_over = True
        self._before.clear()

    def _insist(self) -> None:
        # Looks at the clock now and then, because a signal's handler must not wait for a lock.
        while not self._arrived.wait(_SAME_S):
            if self.is_asked and time.monotonic() - self._last >= _AGAIN_S:
                os.kill(os.getpid(), self._number)

    def _interrupt(self, number: int, _frame: object) -> None:
        now = time.monotonic()
        if now - self._last < _SAME_S:
            return
        self._last, self._number = now, number
        if self._is_over:
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt
