"""The trainer, which waits for a signal right after it has said that an epoch is done.

A test that interrupts it there need not be faster than it is.

    python -m tests.trainer.held_trainer <folder of marks> <epoch>[,<epoch>...] <the trainer's own flags>

It is held once after each of the epochs: a process that is started again finds the mark of the first one.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from trainer import console
from trainer.starting import start

_say = console.say


def hold(marks: Path, epochs: set[int]) -> None:
    """From now on the trainer is held after these epochs, counted from 0."""
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    os.set_blocking(woken, True)

    def say(
        message: str, severity: console.Severity = "INFO", *, fields: Mapping[str, float | None] | None = None
    ) -> None:
        epoch = (fields or {}).get("epoch")
        mark = marks / f"held-{epoch}"
        is_held = epoch in epochs and not mark.exists()
        if is_held:
            mark.touch()
        _say(message, severity, fields=fields)
        if is_held:
            os.read(woken, 1)  # a signal that comes before this is in the pipe already

    console.say = say


if __name__ == "__main__":
    marks = Path(sys.argv[1])
    marks.mkdir(parents=True, exist_ok=True)
    hold(marks, {int(epoch) for epoch in sys.argv[2].split(",")})
    # What has imported `say` by now has its own: the modules that train are imported when the training starts.
    sys.exit(start(sys.argv[3:], os.environ))
