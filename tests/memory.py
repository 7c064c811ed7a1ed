"""The tests' files in memory, where there is room: most tests write to a database, and a disk lets each write wait.

Nothing is tried less: what the tests kill are processes, and whether the machine's memory reaches the disk is SQLite's
and Postgres' to try.
"""

import os
import tempfile
from pathlib import Path

ROOM_BYTES = 4 << 30
"""What must be free: all tests write 2.4 GB, and most of it is deleted as they pass. A container has 64 MB there."""


def keep_files_in_memory(folder: Path = Path("/dev/shm")) -> bool:
    """Makes a folder in `folder` the temporary one of this process and of those it starts, and says whether it did.

    It stays, with what failed tests and killed processes left there.

    It does not where TMPDIR names one, where there is no room, or where no program may be run from there.
    """
    if os.environ.get("TMPDIR") or not os.access(folder, os.W_OK | os.X_OK):
        return False
    found = os.statvfs(folder)
    if not has_room(found.f_bavail * found.f_frsize, found.f_flag):
        return False
    own = folder / f"switchyard-tests-{os.getuid()}"
    own.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(own)
    return True


def has_room(free_bytes: int, flags: int) -> bool:
    """Whether a file system is large enough, and lets programs be run; `flags` as statvfs has them."""
    return free_bytes >= ROOM_BYTES and not flags & os.ST_NOEXEC
