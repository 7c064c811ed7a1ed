"""A forked process that is killed (SIGKILL) at one of its steps."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

Step = Callable[[str], None]


def run_killed(place: Path, point: int, work: Callable[[Step], None]) -> str | None:
    """Does the work in its own process, which is killed at the step number `point`, from 1.

    The work says each step. Returns the step; None: the work came to its end before."""
    said = place / "said"
    child = os.fork()
    if child == 0:
        passed = 0

        def step(where: str) -> None:
            nonlocal passed
            passed += 1
            if passed == point:
                said.write_text(where)
                os.kill(os.getpid(), signal.SIGKILL)

        work(step)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return said.read_text()
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit("the work failed by itself")
    return None
