"""The folder where a loader's process may make empty files; it is removed with the process.

If the server was killed before that, the next server that starts removes it.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "switchyard-loader-"


@dataclass(frozen=True)
class Scratch:
    """A folder, and the lock that shows that its server is alive; the kernel releases it when the server ends."""

    path: str
    lock: int

    def remove(self) -> None:
        """Removes the folder with its content. Never call it twice: the second call would close another file."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make_scratch() -> Scratch:
    """Makes a new folder, locked."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        with suppress(OSError):  # another server has just started and removed it before it was locked
            lock = _lock(path)
            if Path(path).exists():
                return Scratch(path, lock)
            os.close(lock)


def sweep_scratch() -> None:
    """Removes the folders of this user's servers that have ended. A second call finds none."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, in use, or gone
            if path.lstat().st_uid == os.geteuid():
                Scratch(str(path), _lock(str(path))).remove()


def _lock(path: str) -> int:
    """Locks the folder. Raises: OSError: it is locked already, gone, or no folder."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened
