"""Keeps objects on this machine's disk, under ``file:///`` URIs: like a bucket, with generations and whole writes.

An object's generation is its file's modification time in nanoseconds, forced to grow with every write. Writers of one
folder take turns by a lock on the folder itself, so there are no lock files, and no lock outlives its process.
"""

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NoReturn

from switchyard.clients.objects.file_uris import to_path, to_prefix, to_uri
from switchyard.clients.objects.folders import PART_NAME, locked_folder, make_folder, replace_file, to_error, translated
from switchyard.core.errors import BadRecord, BadRequest, NotFound, StaleWrite, SwitchyardError
from switchyard.core.ports import ABSENT, ANY, Dated, Stat

_CHUNK_BYTES = 1 << 20
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY  # Linux enters a folder that may not be listed
_GONE = (FileNotFoundError, NotADirectoryError)


class FileObjects:
    """Implements `core.ports.Objects` on a local disk. Folders are not objects; symbolic links are followed."""

    def stat(self, uri: str) -> Stat:
        """See the port."""
        path = to_path(uri)
        with translated(f"read {uri}"):
            try:
                found = path.stat()
            except _GONE as err:
                raise _missing(uri) from err
        if not stat.S_ISREG(found.st_mode):
            raise _missing(uri, found)
        return Stat(size_bytes=found.st_size, generation=_to_generation(found))

    def read(self, uri: str, *, max_bytes: int | None = None) -> tuple[bytes, int]:
        """See the port. The bytes and the generation are of one moment, even if someone writes meanwhile."""
        with _opened(uri) as (file, found):
            if max_bytes is not None and found.st_size > max_bytes:
                raise BadRecord(uri, [f"expected at most {max_bytes:,} bytes; got {found.st_size:,}; not read"])
            return file.read(), _to_generation(found)

    def read_range(self, uri: str, *, start: int, length: int) -> bytes:
        """See the port."""
        with _opened(uri) as (file, _):
            file.seek(start)
            return file.read(length)

    def read_into(self, uri: str, file: BinaryIO, *, follow_links: bool = True) -> Stat:
        """See the port. A file that was replaced meanwhile is read as it was.

        The time or size of a file shows that it was written into."""
        with _opened(uri, _open if follow_links else _open_without_links) as (source, found):
            left = found.st_size  # a file that someone keeps adding to has no end
            while left and (chunk := source.read(min(left, _CHUNK_BYTES))):
                _pass_on(chunk, file)
                left -= len(chunk)
            after = os.fstat(source.fileno())
            if (after.st_size, after.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
                raise StaleWrite(f"{uri} changed while it was read: read it again")
            return Stat(size_bytes=found.st_size, generation=_to_generation(found))

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        """See the port."""
        _check_generation(if_generation)
        return _put(uri, lambda file: file.write(data), if_generation=if_generation, same=io.BytesIO(data))

    def write_from(self, uri: str, file: BinaryIO, *, if_generation: int) -> int:
        """See the port."""
        _check_generation(if_generation)

        def copy(target: BinaryIO) -> None:
            file.seek(0)
            shutil.copyfileobj(file, target, _CHUNK_BYTES)

        return _put(uri, copy, if_generation=if_generation, same=file)

    def list_folders(self, prefix: str) -> list[str]:
        """See the port."""
        folder, name_prefix = to_prefix(prefix)
        with translated(f"list {prefix}"):
            try:
                found = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
            except _GONE:
                return []
        return sorted(f"{to_uri(folder / name)}/" for name in found if name.startswith(name_prefix))

    def list(self, prefix: str) -> list[str]:
        """See the port. Entering a folder that may not be read is an error, not an empty answer."""
        folder, name_prefix = to_prefix(prefix)
        with translated(f"list {prefix}"):
            return sorted(to_uri(path) for path in _walk(folder, name_prefix))

    def list_stats(self, prefix: str, *, follow_links: bool = True) -> Iterator[tuple[str, Stat]]:
        """See the port."""
        folder, name_prefix = to_prefix(prefix)
        with translated(f"list {prefix}"):
            found = sorted((to_uri(path), path) for path in _walk(folder, name_prefix, follow_links=follow_links))
        for uri, path in found:
            with translated(f"read {uri}"):
                try:
                    stated = path.stat()
                except _GONE:
                    continue
            if stat.S_ISREG(stated.st_mode):
                yield uri, Stat(size_bytes=stated.st_size, generation=_to_generation(stated))

    def list_dated(self, prefix: str) -> Iterator[Dated]:
        """See the port. The generation is the time."""
        for uri, found in self.list_stats(prefix, follow_links=False):
            yield Dated(uri, found, datetime.fromtimestamp(found.generation / 1e9, UTC))

    def list_odd(self, prefix: str) -> Iterator[str]:
        """See the port. Folders behind a link are not entered."""
        folder, name_prefix = to_prefix(prefix)
        with translated(f"list {prefix}"):
            yield from sorted(to_uri(path) for path in _walk_odd(folder, name_prefix))

    def delete(self, uri: str, *, if_generation: int) -> None:
        """See the port."""
        _check_generation(if_generation)
        path = to_path(uri)
        with translated(f"delete {uri}"):
            try:
                with locked_folder(path.parent) as folder:
                    found = os.stat(path.name, dir_fd=folder)
                    _check_is_file(uri, found)
                    if if_generation not in (ANY, _to_generation(found)):
                        _refuse(uri, if_generation, _to_generation(found))
                    os.unlink(path.name, dir_fd=folder)
                    os.fsync(folder)
            except _GONE:
                return

    def upload_folder(self, path: Path, uri: str) -> int:
        """See the port. Each file appears whole; a killed call leaves some files old or missing, none cut.

        Raises:
            NotFound: `path` is not a folder.
        """
        if not path.is_dir():
            raise NotFound(f"could not copy {path} to {uri}: expected a folder, and there is none")
        with translated(f"read {path}"):
            sources = sorted(_walk(path, ""))
        target = to_path(uri.rstrip("/"))
        for source in sources:
            with translated(f"read {source}"), source.open("rb") as file:
                _put(
                    to_uri(target / source.relative_to(path)),
                    lambda copy, file=file: shutil.copyfileobj(file, copy, 1 << 20),  # type: ignore[misc]
                    if_generation=ANY,
                )
        return len(sources)


def _open(path: Path) -> int:
    # Without O_NONBLOCK, opening a named pipe would wait for its writer.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _open_without_links(path: Path) -> int:
    """Opens folder by folder: a look before the file is opened would not see a link that is made in between."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open("/", _FOLDER | flags)
    try:
        for name in path.parts[1:-1]:
            inner = os.open(name, _FOLDER | flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(path.name, os.O_RDONLY | os.O_NONBLOCK | flags, dir_fd=folder)
    except OSError as err:
        if err.errno != errno.ELOOP:
            raise
        raise FileNotFoundError(errno.ENOENT, "it is a symbolic link", str(path)) from err
    finally:
        os.close(folder)


@contextlib.contextmanager
def _opened(uri: str, open_: Callable[[Path], int] = _open) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Yields a file for reading, and what it is."""
    path = to_path(uri)
    with translated(f"read {uri}"):
        try:
            descriptor = open_(path)
        except _GONE as err:
            raise _missing(uri) from err
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise _missing(uri, found)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                yield file, found
        finally:
            os.close(descriptor)


def _put(uri: str, write: Callable[[BinaryIO], object], *, if_generation: int, same: BinaryIO | None = None) -> int:
    path = to_path(uri)
    with translated(f"write {uri}"):
        make_folder(path.parent)
        with locked_folder(path.parent) as folder:
            try:
                found = os.stat(path.name, dir_fd=folder)
            except FileNotFoundError:
                generation = ABSENT
            else:
                _check_is_file(uri, found)
                generation = _to_generation(found)
            if if_generation not in (ANY, generation):
                if generation != ABSENT and same is not None and _holds(path, found.st_size, same):
                    return generation  # our own write, and its answer was lost
                _refuse(uri, if_generation, generation)
            return replace_file(folder, path.name, write, newer_than_ns=generation)


def _holds(path: Path, size_bytes: int, same: BinaryIO) -> bool:
    """Returns true if the file has the bytes of `same`, and no more."""
    if size_bytes != same.seek(0, os.SEEK_END):
        return False
    same.seek(0)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if chunk != same.read(len(chunk)):
                return False
    return True


def _pass_on(chunk: bytes, file: BinaryIO) -> None:
    """Writes a chunk; trouble with the written file must not look like trouble with the one that is read."""
    try:
        file.write(chunk)
    except OSError as err:
        raise to_error(err, "write to a temporary file (TMPDIR names its folder)") from err


def _walk(
    folder: Path, name_prefix: str, inside: frozenset[tuple[int, int]] = frozenset(), *, follow_links: bool = True
) -> Iterator[Path]:
    """Yields every file below `folder` with a path there that starts with `name_prefix`."""
    try:
        here = folder.stat()
        entries = list(os.scandir(folder))
    except _GONE:  # also a folder that is removed while we look
        return
    identity = (here.st_dev, here.st_ino)
    if identity in inside:  # a symbolic link to a folder that we are in
        return
    for entry in entries:
        if not entry.name.startswith(name_prefix) or entry.name == PART_NAME:
            continue
        if entry.is_dir(follow_symlinks=follow_links):
            yield from _walk(folder / entry.name, "", inside | {identity}, follow_links=follow_links)
        elif entry.is_file(follow_symlinks=follow_links):
            yield folder / entry.name


def _walk_odd(folder: Path, name_prefix: str) -> Iterator[Path]:
    """Yields every entry below `folder` that is neither a folder nor a file of its own."""
    try:
        entries = list(os.scandir(folder))
    except _GONE:
        return
    for entry in entries:
        if not entry.name.startswith(name_prefix):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk_odd(folder / entry.name, "")
        elif not entry.is_file(follow_symlinks=False):
            yield folder / entry.name


def _to_generation(found: os.stat_result) -> int:
    return max(found.st_mtime_ns, 1)  # a file copied with the time 1970-01-01 is still there, not ABSENT


def _missing(uri: str, found: os.stat_result | None = None) -> SwitchyardError:
    if found is not None and stat.S_ISDIR(found.st_mode):
        return NotFound(f"expected an object at {uri}; it is a folder, name a file in it")
    if found is not None:
        return NotFound(f"expected an object at {uri}; it is not a regular file (a device, a pipe or a socket)")
    return NotFound(f"expected an object at {uri}; there is none")


def _check_is_file(uri: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise BadRequest(f"{_missing(uri, found)}; nothing was changed")


def _check_generation(if_generation: int) -> None:
    if if_generation < ANY:
        raise BadRequest(f"if_generation must be a generation, ABSENT (0) or ANY (-1); got {if_generation}")


def _refuse(uri: str, expected: int, found: int) -> NoReturn:
    wanted = "not to exist" if expected == ABSENT else f"to have generation {expected}"
    there = "it does not exist" if found == ABSENT else f"its generation is {found}"
    raise StaleWrite(f"expected {uri} {wanted}; {there}: someone else wrote, read it again before writing")
