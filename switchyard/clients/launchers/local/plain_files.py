"""Opens plain files of a job's folder, whatever lies in their place: no look waits, follows a loop, or never ends."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class StrangeFile(Exception):
    """What lies there is not what we wrote; the text says what it is."""


@contextmanager
def open_plain(path: Path, *, follows_links: bool = False) -> Iterator[BinaryIO]:
    """Opens the file for reading.

    Raises: FileNotFoundError; OSError; StrangeFile: a folder, a link, a pipe, a socket or a device.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # else opening a pipe would wait for its writer
    try:
        descriptor = os.open(path, flags if follows_links else flags | os.O_NOFOLLOW)
    except OSError as err:
        if err.errno == errno.ELOOP:
            raise StrangeFile("it is a symbolic link, or its links form a loop") from err
        if err.errno in (errno.ENXIO, errno.EOPNOTSUPP):
            raise StrangeFile("it is a socket, or a device that is not there") from err
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise StrangeFile("it is a folder" if stat.S_ISDIR(mode) else "it is not a plain file (a pipe, a device)")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_plain(path: Path, *, max_bytes: int) -> bytes:
    """Returns all of a file of at most `max_bytes`. Raises: as `open_plain`; StrangeFile: it is larger."""
    with open_plain(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise StrangeFile(f"it has more than {max_bytes:,} bytes")
    return data


@contextmanager
def open_log(path: Path) -> Iterator[BinaryIO]:
    """Opens the file for writing at its end; makes it if it is missing. A pipe without a reader fails at once."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
        yield file
