"""A terminal of a test's own, with a command in its foreground.

What is typed there reaches the command as a person's keys do, Ctrl-C as a signal to the whole foreground group.
"""

import fcntl
import os
import pty
import signal
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType


class Terminal:
    """One command on a pseudo-terminal; the end of the block kills what is left of it."""

    def __init__(self, command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> None:
        self._keys, screen = pty.openpty()
        self._shown = bytearray()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(screen)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def read(self) -> str:
        """All that was shown so far."""
        return self._shown.decode(errors="replace")

    def press_ctrl_c(self) -> None:
        """What a person does; the kernel sends SIGINT to the foreground group."""
        os.write(self._keys, b"\x03")

    def terminate(self) -> None:
        """SIGTERM to the whole group, as a terminal's window or a service manager sends it."""
        os.killpg(self.process.pid, signal.SIGTERM)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(10)
        os.close(self._keys)

    def _read(self) -> None:
        # Once no process has the terminal open any more, reading it is an error on Linux.
        try:
            while chunk := os.read(self._keys, 65536):
                self._shown += chunk
        except OSError:
            return
