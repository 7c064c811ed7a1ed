"""Waiting in tests: for a condition, with a deadline, never for a time."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], *, deadline_s: float = 180.0, what: str = "") -> None:
    """Returns once `condition` is true. Raises: AssertionError: it was not in time."""
    until = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < until, f"not within {deadline_s:.0f} s: {what or condition}"
        time.sleep(0.05)
