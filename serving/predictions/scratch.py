"""The folder where a loader's process may make empty files: removed with the process, and where the server was killed
before it could, by the next server that starts."""

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
    """A folder, and the lock that says that its server lives: the kernel lets go of it when the server ends."""

    path: str
    lock: int

    def remove(self) -> None:
        """With all that is in it. A second call would close another file's number: there must be none."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make_scratch() -> Scratch:
    """A new folder, locked."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        with suppress(OSError):  # a server that has just started found it before the lock was there
            lock = _lock(path)
            if Path(path).exists():
                return Scratch(path, lock)
            os.close(lock)


def sweep_scratch() -> None:
    """Removes the folders of servers that are no more, of this user alone. A second call finds none."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # not ours, in use, or gone
            if path.lstat().st_uid == os.geteuid():
                Scratch(str(path), _lock(str(path))).remove()


def _lock(path: str) -> int:
    """Raises: OSError: it is locked, gone, or no folder."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened
