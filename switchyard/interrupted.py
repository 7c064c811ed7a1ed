"""What a program does with a Ctrl-C that no one handles: imported first, before the imports that take a while."""

import os
import sys
from types import TracebackType

INTERRUPTED = 130
"""The exit status: 128 and SIGINT's number, as shells have it."""


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
