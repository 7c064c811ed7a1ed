"""Locks one folder of a local disk, and replaces files in it whole, so that no reader ever sees a part.

What a file means is left to the callers (`clients.objects.files`, `clients.launchers.local.job_folder`).
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from switchyard.core.errors import BadRequest, BadSetup, SwitchyardError, TryAgain

PART_NAME = ".switchyard-part"
"""The one name that a file has before it is whole. Only the holder of the folder's lock uses it, so one name is enough.
The folder's next writer removes what a killed writer left behind."""

LOCK_WAIT_S = 60.0

_LATER = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY}
_LATER |= {errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.ENOENT}
_ADVICE = {
    errno.ENOSPC: "the disk is full: make room, then try again; nothing was changed",
    errno.EDQUOT: "the disk quota is used up: make room, then try again; nothing was changed",
    errno.EIO: "the disk answered with an input/output error: look at the system's log, then try again",
    errno.EMFILE: "this process has too many files open: try again, or raise the limit (ulimit -n)",
    errno.ENOENT: "its folder went away meanwhile: try again",
    errno.EACCES: "give this user the right to read and write there, or use another folder",
    errno.EPERM: "give this user the right to read and write there, or use another folder",
    errno.EROFS: "the file system is read-only: mount it writable, or use another folder",
    errno.EFBIG: "the file is larger than this file system or this process (ulimit -f) may write",
    errno.ENAMETOOLONG: "the name is too long for this file system: use a shorter one",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ELOOP: "its symbolic links form a loop",
}
_BAD_REQUESTS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def to_error(err: OSError, doing: str) -> SwitchyardError:
    """Returns the disk's error as ours. `doing` says what was tried, with the path: ``write file:///a/b``.

    `TryAgain` is for what passes or can be mended while we wait, `BadRequest` for a path that cannot be, `BadSetup` for
    the rest."""
    code = err.errno or 0
    message = f"could not {doing}: {err.strerror or err}" + (f"; {_ADVICE[code]}" if code in _ADVICE else "")
    if code in _LATER:
        return TryAgain(message)
    return BadRequest(message) if code in _BAD_REQUESTS else BadSetup(message)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns the disk's errors within into ours (`to_error`)."""
    try:
        yield
    except OSError as err:
        raise to_error(err, doing) from err


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Makes `path`, with `mode` less the process's mask, and its missing parents. They survive a power cut.

    A second call does nothing."""
    try:
        path.mkdir(mode)
    except FileNotFoundError:
        make_folder(path.parent)
        make_folder(path, mode=mode)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    else:
        _flush_folder(path.parent)


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """Yields a descriptor of the folder, closed at the end."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def try_lock(folder: int) -> bool:
    """Returns true if this descriptor has the folder's lock now; the kernel frees it when the process dies.

    Raises:
        BadSetup: the file system has no locks on folders (some network ones).
    """
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as err:
        if err.errno in _NO_LOCKS:
            raise BadSetup(
                f"the file system of this folder cannot lock folders ({err.strerror}): use a local disk, or gs://"
            ) from err
        raise
    return True


def unlock(folder: int) -> None:
    """Frees the lock even if a forked child still holds the descriptor: closing it would not."""
    fcntl.flock(folder, fcntl.LOCK_UN)


@contextmanager
def locked_folder(path: Path, *, wait_s: float = LOCK_WAIT_S) -> Iterator[int]:
    """Yields the folder's descriptor with its lock held.

    Raises:
        TryAgain: another process held the lock for `wait_s`.
    """
    with open_folder(path) as folder:
        deadline = time.monotonic() + wait_s
        pause_s = 0.001
        while not try_lock(folder):
            if time.monotonic() > deadline:
                raise TryAgain(f"{path} has been locked by another process for {wait_s:.0f} s: try again")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)
        try:
            yield folder
        finally:
            unlock(folder)


def replace_file(folder: int, name: str, write: Callable[[BinaryIO], object], *, newer_than_ns: int = 0) -> int:
    """Writes a file of a locked folder whole; it is on the disk when this returns. On an error nothing has changed.

    Returns its modification time [ns], which is later than `newer_than_ns` whatever the clock says.
    """
    discard_part(folder)
    descriptor = os.open(PART_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            modified_ns = _touch_after(descriptor, newer_than_ns)
            os.fsync(descriptor)
        os.replace(PART_NAME, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report; the next writer removes the part
            discard_part(folder)
        raise
    os.fsync(folder)
    return modified_ns


def discard_part(folder: int) -> None:
    """Removes from a locked folder what a killed writer left."""
    with suppress(FileNotFoundError):
        os.unlink(PART_NAME, dir_fd=folder)


def _touch_after(descriptor: int, newer_than_ns: int) -> int:
    # Some file systems keep times to the microsecond, or to two seconds (FAT), so one nanosecond more may be lost.
    for step_ns in (1, 1_000, 10_000_000, 2_000_000_000):
        wanted_ns = max(time.time_ns(), newer_than_ns + step_ns)
        os.utime(descriptor, ns=(wanted_ns, wanted_ns))
        modified_ns = os.fstat(descriptor).st_mtime_ns
        if modified_ns > newer_than_ns:
            return modified_ns
    raise BadSetup(f"the file system does not keep modification times: asked for {wanted_ns} ns, got {modified_ns} ns")


def _flush_folder(path: Path) -> None:
    with open_folder(path) as folder:
        os.fsync(folder)
