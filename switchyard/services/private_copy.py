"""The one door to a model's files: they are copied to a private folder, and hashed on the way.

Only a folder that holds exactly the version's files, to the last byte, is handed to a loader. No format is safe before
that: a damaged file can end the process that reads it. So nothing else opens a model's files to answer from them.
"""

import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from switchyard.clients.objects.folders import locked_folder, open_folder, translated, try_lock
from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.ports import Objects
from switchyard.core.registry.manifest import Manifest, ModelFile, find_differences, to_manifest
from switchyard.services.registering import CHUNK_BYTES, list_files

PRIVATE: Final = 0o700
_PART: Final = "part-"
"""The name of a folder that is not whole yet. The process that fills it holds its lock."""

_log = logging.getLogger("switchyard.models")


def fetch(manifest: Manifest, objects: Objects, source_uri: str, folder: Path) -> None:
    """Copies the manifest's files, and no others, from below `source_uri` to `folder`.

    The folder is made here, for this user alone. On an error it is removed. A second call refuses the folder that is
    there.

    Raises:
        BadRecord: a file is missing, is not the registered one, or is one too many; or there is a link, a device, or a
            path that is not allowed. It names all of them.
        BadSetup: the folder is there already, or cannot be written.
    """
    to_manifest(manifest.files, f"the list of files of {source_uri}")  # a path with `..` never becomes our path
    with translated(f"make {folder}"):
        folder.mkdir(PRIVATE, parents=False)
    try:
        _fill(manifest, objects, source_uri, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def take_copy(manifest: Manifest, objects: Objects, source_uri: str, cache: Path) -> Path:
    """Returns the folder in `cache` that holds exactly the manifest's files: named by their digest, all bytes read now.

    Where it is not there, or was damaged, the files are fetched; else `objects` is not asked. Several processes may
    call at once: each makes its own folder, and the first to be ready names it for all. A killed process leaves nothing
    under the name. The next process removes what it left beside.

    Raises: as `fetch`, and what `objects` raises.
    """
    with translated(f"make {cache}"):
        cache.mkdir(PRIVATE, parents=True, exist_ok=True)
    _discard_abandoned(cache)
    ready = cache / manifest.digest.replace(":", "-")
    problems = _find_damage(manifest, ready)
    if not problems:
        return ready
    if os.path.lexists(ready):
        _log.warning("the copy of a model in %s was changed, and is fetched again: %s", ready, "; ".join(problems))
    with _making(cache) as part:
        files = part / "files"
        fetch(manifest, objects, source_uri, files)
        _put_in_place(files, ready, manifest)
    return ready


def discard_copy(cache: Path, name: str) -> None:
    """Removes the folder `name` of the cache. It moves away as a whole, so that no one finds half of it.

    A second call, and the next `take_copy`, remove what a killed one has left of it."""
    if not cache.is_dir():
        return
    _discard_abandoned(cache)
    with _making(cache) as part, locked_folder(cache), suppress(FileNotFoundError):
        (cache / name).rename(part / "files")


def _fill(manifest: Manifest, objects: Objects, source_uri: str, folder: Path) -> None:
    """Copies the files, then reports all that is wrong."""
    where = f"the model in {source_uri}"
    there = {path: uri for path, (uri, _) in list_files(objects, source_uri, where).items()}
    found = {path: ModelFile(path=path, size_bytes=0, sha256="") for path in there}
    sizes = {file.path: file.size_bytes for file in manifest.files}
    for path, uri in there.items():
        if path in sizes:  # of a file too many only the name counts
            found[path] = _copy(objects, uri, path, folder, sizes[path])
    if problems := find_differences(manifest, found):
        raise BadRecord(where, [*problems, "nothing of it was loaded; put the registered files back from a backup"])


def _copy(objects: Objects, uri: str, path: str, folder: Path, expected_bytes: int) -> ModelFile:
    """Copies one file, part by part: what is hashed is what is written.

    A file that is longer than it should be is not read to its end: it may have none."""
    target = folder / path
    hashed, size = hashlib.sha256(), 0
    with translated(f"write {target}"):
        for part in reversed(target.relative_to(folder).parents[:-1]):
            (folder / part).mkdir(PRIVATE, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            while chunk := _read_part(objects, uri, size):
                hashed.update(chunk)
                file.write(chunk)
                size += len(chunk)
                if len(chunk) < CHUNK_BYTES or size > expected_bytes:
                    break
    return ModelFile(path=path, size_bytes=size, sha256=hashed.hexdigest())


def _read_part(objects: Objects, uri: str, start: int) -> bytes:
    try:
        return objects.read_range(uri, start=start, length=CHUNK_BYTES)
    except NotFound as err:
        raise BadRecord(uri, ["it was deleted while the model was copied"]) from err


def _find_damage(manifest: Manifest, folder: Path) -> list[str]:
    """Returns what keeps a folder of the cache from being used; empty: nothing."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return ["it is not there"]
    if not stat.S_ISDIR(found.st_mode):
        return ["it is not a folder"]
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        return ["others can read or write it"]
    try:
        odd = [path for path, mode in _walk(folder) if not stat.S_ISREG(mode)]
        if odd:
            return [f"{path.relative_to(folder).as_posix()!r} is a link or no regular file" for path in odd]
        files = {path.relative_to(folder).as_posix(): _hash(path, folder) for path, _ in _walk(folder)}
    except OSError as err:  # for example because another process is about to replace it
        return [f"it cannot be read: {err.strerror}"]
    return find_differences(manifest, files)


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yields everything but folders, with its mode. Does not follow links."""
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            yield path, mode


def _hash(path: Path, folder: Path) -> ModelFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.fstat(file.fileno()).st_size
    return ModelFile(path=path.relative_to(folder).as_posix(), size_bytes=size, sha256=digest)


@contextmanager
def _making(cache: Path) -> Iterator[Path]:
    """Makes a new folder of the cache, and holds its lock until it is filled, or this process is dead."""
    with translated(f"write {cache}"):
        while (made := _make_locked(cache)) is None:
            pass  # another process took it for abandoned before it was locked
    part, held = made
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(held)


def _make_locked(cache: Path) -> tuple[Path, int] | None:
    part = Path(tempfile.mkdtemp(prefix=_PART, dir=cache))  # only this user can read it
    held = -1
    try:
        held = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if try_lock(held) and os.path.samestat(part.stat(), os.fstat(held)):
            return part, held
    except FileNotFoundError:
        pass
    if held >= 0:
        os.close(held)
    return None


def _put_in_place(files: Path, ready: Path, manifest: Manifest) -> None:
    """Gives the whole folder its name, one process at a time.

    A folder that is there by now is another process's, and as good. If it is damaged, it first moves to where it is
    removed."""
    with translated(f"write {ready}"), locked_folder(ready.parent):
        if not _find_damage(manifest, ready):
            return
        with suppress(FileNotFoundError):
            ready.rename(files.parent / "damaged")
        files.rename(ready)


def _discard_abandoned(cache: Path) -> None:
    """Removes what killed processes left: no one holds its lock."""
    for part in cache.glob(f"{_PART}*"):
        with suppress(OSError), open_folder(part) as held:
            if try_lock(held):
                shutil.rmtree(part, ignore_errors=True)
