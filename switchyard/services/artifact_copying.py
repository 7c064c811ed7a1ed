"""Copies the artifacts of one run: each object is read once, hashed on the way, kept under its hash, and read back.

A copy exists once its manifest does, which is written when all objects are there. Until then notes say which are there,
so that a killed copy goes on with the others.
"""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import RawIOBase
from typing import Any, BinaryIO, Final, TypeVar

import msgspec

from switchyard.core.artifacts.copies import ArtifactCopy, RunCopied
from switchyard.core.artifacts.manifest import (
    Copied,
    LeftOut,
    Manifest,
    SourceObject,
    is_run_id,
    read_manifest,
    to_manifest,
    to_manifest_uri,
    to_manifests_prefix,
    to_notes_prefix,
    to_object_uri,
)
from switchyard.core.artifacts.places import Place, without_password
from switchyard.core.artifacts.plan import ArtifactRun, How, choose, is_up_to_date
from switchyard.core.errors import BadRecord, NotFound, StaleWrite, SwitchyardError, TryAgain, to_message
from switchyard.core.ports import ABSENT, ANY, ArtifactCopies, ArtifactSource, Objects
from switchyard.core.strict_json import decode_strictly
from switchyard.services.artifact_objects import Stored

TRIES: Final = 3
"""How often an object is read that changes meanwhile, and a place is listed in which something does."""
IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
"""A larger object goes through this machine's disk (TMPDIR): its name is not known before it is hashed."""
NOTE_OBJECTS: Final = 500
NOTE_BYTES: Final = 256 * 1024 * 1024
"""At most as much is read again after a kill."""
GIVE_UP_AFTER: Final = 20
"""After as many failures in a row that may pass, the store is asked whether it is away."""

_LOST: Final = "its copy is gone, and its source no longer has it"

T = TypeVar("T")
R = TypeVar("R")


class OurTrouble(Exception):
    """The place of the copies cannot be written or read. No artifact is at fault."""

    def __init__(self, error: SwitchyardError) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass
class Progress:
    """Holds what the copies of one flow run share in this process.

    That is how far they are, to be shown, and which objects are there already."""

    stored: Stored = field(default_factory=Stored)
    objects: int = 0
    size_bytes: int = 0
    is_interrupted: bool = False  # end at the next object
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, size_bytes: int) -> None:
        """Counts one more object. Raises: KeyboardInterrupt: someone wants it to end."""
        with self._lock:
            self.objects += 1
            self.size_bytes += size_bytes
        if self.is_interrupted:
            raise KeyboardInterrupt


class Gate:
    """Lets a limited number of bytes in at once. A larger object goes alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._inside = 0
        self._changed = threading.Condition()

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside or self._inside + size_bytes <= self._limit)
            self._inside += size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._inside -= size_bytes
                self._changed.notify_all()


class Patience:
    """Counts failures that may pass. Raises: TryAgain: there were too many in a row."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._limit = GIVE_UP_AFTER
        self._lock = threading.Lock()

    def note_done(self) -> None:
        """Notes that an object was read: the store answers."""
        with self._lock:
            self._in_a_row, self._limit = 0, GIVE_UP_AFTER

    def note_answer(self) -> None:
        """Notes that the store answers. Twice as many objects may fail before it is asked again."""
        with self._lock:
            self._in_a_row, self._limit = 0, 2 * self._limit

    def note_trouble(self, err: TryAgain) -> None:
        """Counts one more failure. Raises: TryAgain: there were too many in a row."""
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= self._limit:
                raise TryAgain(f"{self._in_a_row} artifacts in a row could not be read; the last one: {err}") from err


@dataclass(frozen=True)
class Copying:
    """Holds what the copies of one batch share."""

    target: Objects
    copies: ArtifactCopies
    how: How
    pool: ThreadPoolExecutor
    gate: Gate
    progress: Progress

    def copy_run(
        self, run: ArtifactRun, place: Place, source: ArtifactSource, read_before: Mapping[str, Copied]
    ) -> tuple[RunCopied, Manifest | None]:
        """Copies the run's artifacts, and returns what became of them with the manifest.

        A second call copies what is new or has changed since. After a killed call it goes on.

        Args:
            read_before: objects that another run's copy has just read, by their path below `place`.

        Raises:
            TryAgain: the store is away. OurTrouble: what is copied cannot be kept.
        """
        shown = without_password(place.uri)
        found, refused = _split(source.list(place.uri))
        before = self._read_before(run.mlflow_run_id)
        missing = self._find_missing(before.objects if before else ())
        if before and not missing and not self.how.again and is_up_to_date(before, shown, found, refused):
            return self._say(run, "unchanged" if before.objects else "nothing", before), before
        known = dict(read_before)
        if not self.how.again:
            said = self._read_notes(run.mlflow_run_id, shown)
            before = before or self._find_unnamed(run.mlflow_run_id)
            if before is not None and before.source == shown:
                said |= {one.path: one for one in before.objects}
            missing |= self._find_missing(said.values())
            known |= {path: one for path, one in said.items() if one.sha256 not in missing}
        reading = _Reading(self, run, place, shown, source)
        for _ in range(TRIES):
            todo = choose(found, known)
            failed = reading.copy_all(todo.copy, known)
            after, refused = _split(source.list(place.uri))
            changed = [one for one in choose(after, known).copy if one.path not in failed]
            found = after
            if not changed:
                break
        else:
            reason = f"it was written again {TRIES} times while it was copied"
            failed |= {one.path: LeftOut(path=one.path, reason=reason) for one in changed}
        passing = [err for err in reading.passing.values() if isinstance(err, TryAgain)]
        # Where an object cannot be read as it is now, what was read before is kept.
        kept = {one.path: known[one.path] for one in found if one.path in known}
        manifest = self._finish(run, shown, before, kept, [*refused, *failed.values()])
        lost = self._find_lost(manifest, missing)
        state = "nothing"
        if manifest.objects or manifest.left_out:
            state = ("partial" if manifest.objects else "failed") if manifest.left_out else "copied"
        done = self._say(run, state, manifest, lost, copied=reading.copied, copied_bytes=reading.copied_bytes)
        if passing:
            raise PassingTrouble(done, passing[0])
        return done, manifest

    def find_kept(self, run: ArtifactRun) -> RunCopied | None:
        """Returns what is kept of a run that MLflow no longer has; None: nothing is."""
        before = self._read_before(run.mlflow_run_id) if is_run_id(run.mlflow_run_id) else None
        if before is None:
            return None
        lost = self._find_lost(before, self._find_missing(before.objects))
        return self._say(run, "unchanged" if before.objects else "nothing", before, lost)

    def keep_nothing(self, run: ArtifactRun) -> RunCopied:
        """Notes that the run has no artifacts, so that no one looks for a copy. A second call changes nothing."""
        return self._say(run, "nothing", self._finish(run, "", None, {}, ()))

    def _find_missing(self, said: Iterable[Copied]) -> frozenset[str]:
        """Returns the hashes that a manifest or a note names, and that are not there.

        A manifest or a note only lists what was there when it was written."""
        with ours():
            return self.progress.stored.find_missing(self.target, self.how.to_uri, said)

    def _find_lost(self, manifest: Manifest, missing: frozenset[str]) -> tuple[LeftOut, ...]:
        """Returns what is still missing: its source no longer has it. The manifest goes on naming it."""
        named = [one for one in manifest.objects if one.sha256 in missing]
        still = self._find_missing(named)
        return tuple(LeftOut(path=one.path, reason=_LOST) for one in named if one.sha256 in still)

    def _read_before(self, run_id: str) -> Manifest | None:
        """Returns the manifest of the run's copy if there is one that is whole."""
        row = self.copies.read([run_id]).get(run_id)
        if row is None or row.to_uri != self.how.to_uri:
            return None
        uri = to_manifest_uri(row.to_uri, run_id, row.digest)
        with suppress(NotFound, BadRecord), ours():
            return read_manifest(self.target.read(uri)[0], uri, digest=row.digest)
        return None

    def _find_unnamed(self, run_id: str) -> Manifest | None:
        """Returns the newest manifest that is there, though no row names it.

        A copy was killed just before its end, or a results database was lost."""
        newest = None
        with ours():
            for uri, stat in self.target.list_stats(to_manifests_prefix(self.how.to_uri, run_id)):
                with suppress(NotFound, BadRecord):
                    digest = f"sha256:{uri.rpartition('/')[2].removesuffix('.json')}"
                    if newest is None or stat.generation > newest[0]:
                        newest = (stat.generation, read_manifest(self.target.read(uri)[0], uri, digest=digest))
        return newest[1] if newest is not None and newest[1].mlflow_run_id == run_id else None

    def _read_notes(self, run_id: str, shown: str) -> dict[str, Copied]:
        """Returns what a killed copy has copied."""
        known: dict[str, Copied] = {}
        with ours():
            for uri in self.target.list(to_notes_prefix(self.how.to_uri, run_id)):
                with suppress(NotFound, ValueError):  # another process's copy has just ended, or the file is not ours
                    note = decode_strictly(self.target.read(uri)[0], Note)
                    if note.source == shown:
                        known |= {one.path: one for one in note.objects}
        return known

    def _finish(
        self,
        run: ArtifactRun,
        shown: str,
        before: Manifest | None,
        kept: dict[str, Copied],
        left_out: Iterable[LeftOut],
    ) -> Manifest:
        """Writes the manifest, clears the notes, which it now holds, and writes the row."""
        # An artifact that was deleted at its source stays here. A copy loses nothing.
        gone = {one.path: one for one in before.objects} if before is not None else {}
        every = {one.path: one for one in left_out}
        manifest = to_manifest(run.mlflow_run_id, shown, (gone | kept).values(), every.values())
        copy = ArtifactCopy(
            mlflow_run_id=run.mlflow_run_id,
            to_uri=self.how.to_uri,
            digest=manifest.digest,
            objects=len(manifest.objects),
            size_bytes=manifest.size_bytes,
            left_out=len(manifest.left_out),
            copied_at=datetime.now(UTC),
        )
        with ours():
            uri = to_manifest_uri(self.how.to_uri, run.mlflow_run_id, manifest.digest)
            self.target.write(uri, manifest.to_json(), if_generation=ANY)
            for uri in self.target.list(to_notes_prefix(self.how.to_uri, run.mlflow_run_id)):
                self.target.delete(uri, if_generation=ANY)
            self.copies.keep(copy)
        return manifest

    def _say(
        self, run: ArtifactRun, state: Any, manifest: Manifest, lost: tuple[LeftOut, ...] = (), **more: Any
    ) -> RunCopied:
        left_out = {one.path for one in manifest.left_out}
        lost_paths = {one.path for one in lost}
        kept = [one for one in manifest.objects if one.path not in lost_paths]
        if lost or (state == "unchanged" and manifest.left_out):
            state = "partial" if kept else "failed"
        return RunCopied(
            mlflow_run_id=run.mlflow_run_id,
            quick_test_ids=run.quick_test_ids,
            state=state,
            digest=manifest.digest,
            objects=len(kept),
            size_bytes=sum(one.size_bytes for one in kept),
            failed=(*manifest.left_out, *(one for one in lost if one.path not in left_out)),
            **more,
        )

    def keep_note(self, run_id: str, shown: str, objects: list[Copied]) -> None:
        """Says that these objects are there. A second call writes the same."""
        if not objects:
            return
        data = msgspec.json.encode(Note(source=shown, objects=tuple(objects)))
        name = hashlib.sha256(data).hexdigest()
        with ours():
            self.target.write(f"{to_notes_prefix(self.how.to_uri, run_id)}{name}.json", data, if_generation=ANY)

    def store(self, file: BinaryIO, sha256: str, size_bytes: int) -> None:
        """Keeps the content of `file`, and reads it back. A second call finds it there. Raises: OurTrouble."""
        self._store(file, sha256, size_bytes)
        self.progress.stored.note(sha256, size_bytes)

    def _store(self, file: BinaryIO, sha256: str, size_bytes: int) -> None:
        uri = to_object_uri(self.how.to_uri, sha256)
        with ours():
            generation = ABSENT
            with suppress(NotFound):
                there = self.target.stat(uri)
                if there.size_bytes == size_bytes and (not self.how.again or hash_object(self.target, uri) == sha256):
                    return
                generation = there.generation
            with suppress(StaleWrite):  # another run's copy has just kept the same
                self.target.write_from(uri, file, if_generation=generation)
            found = hash_object(self.target, uri)
            if found != sha256:
                raise TryAgain(f"{uri} was written, but reads back with sha256 {found}: copy it again")


class PassingTrouble(Exception):
    """Some artifacts of a run could not be read, and it may pass; `done` is what became of the others."""

    def __init__(self, done: RunCopied, error: TryAgain) -> None:
        self.done, self.error = done, error
        super().__init__(str(error))


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The objects of a run that are copied, while others are not yet."""

    source: str
    objects: tuple[Copied, ...]


class _Reading:
    """Reads the objects of one run, several at once."""

    def __init__(self, copying: Copying, run: ArtifactRun, place: Place, shown: str, source: ArtifactSource) -> None:
        self._copying, self._run, self._place, self._shown, self._source = copying, run, place, shown, source
        self.copied = 0
        self.copied_bytes = 0
        self.passing: dict[str, SwitchyardError] = {}
        self._patience = Patience()

    def copy_all(self, objects: Iterable[SourceObject], known: dict[str, Copied]) -> dict[str, LeftOut]:
        """Adds what is copied to `known`; returns what is not, and why."""
        failed: dict[str, LeftOut] = {}
        noted: list[Copied] = []
        noted_bytes = 0
        try:
            for one, found in run_bounded(self._copying.pool, self._copy, objects, 4 * self._copying.how.concurrency):
                if isinstance(found, Copied):
                    self._patience.note_done()
                    self.passing.pop(one.path, None)
                    known[one.path] = found
                    self.copied += 1
                    self.copied_bytes += found.size_bytes
                    noted.append(found)
                    noted_bytes += found.size_bytes
                    if len(noted) >= NOTE_OBJECTS or noted_bytes >= NOTE_BYTES:
                        self._keep(noted)
                        noted, noted_bytes = [], 0
                elif isinstance(found, OurTrouble | KeyboardInterrupt) or not isinstance(found, Exception):
                    raise found
                else:
                    if isinstance(found, TryAgain):
                        self.passing[one.path] = found
                        self._note_trouble(found)
                    failed[one.path] = LeftOut(path=one.path, reason=to_message(found))
                self._copying.progress.note(one.size_bytes)
        finally:
            with suppress(OurTrouble):  # the first trouble is the one to tell
                self._keep(noted)
        return failed

    def _note_trouble(self, err: TryAgain) -> None:
        """Goes on with the other objects as long as their store answers. Raises: TryAgain: it is away."""
        try:
            self._patience.note_trouble(err)
        except TryAgain:
            next(iter(self._source.list(self._place.uri)), None)
            self._patience.note_answer()

    def _keep(self, noted: list[Copied]) -> None:
        self._copying.keep_note(self._run.mlflow_run_id, self._shown, noted)

    def _copy(self, one: SourceObject) -> Copied:
        for _ in range(TRIES):
            with self._copying.gate.holding(one.size_bytes), suppress(StaleWrite):
                return self._copy_once(one)
        raise StaleWrite(f"it changed {TRIES} times while it was read")

    def _copy_once(self, one: SourceObject) -> Copied:
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, prefix="switchyard-artifact-") as file:
            hashed = Hashed(file)
            was = self._source.fetch(self._place.uri, one, hashed)  # type: ignore[arg-type]  # a file to write to
            if hashed.size_bytes != was.size_bytes:
                raise StaleWrite(f"it has {was.size_bytes:,} bytes, but {hashed.size_bytes:,} came")
            self._copying.store(file, hashed.sha256, was.size_bytes)  # type: ignore[arg-type]  # it is one
        return Copied(path=one.path, size_bytes=was.size_bytes, sha256=hashed.sha256, generation=was.generation)


class Hashed(RawIOBase):
    """Hashes what is written, and passes it on where there is a file to pass it to."""

    def __init__(self, file: Any = None) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        """Returns true."""
        return True

    def write(self, chunk: Any) -> int:
        """Writes all of it, or raises."""
        if self._file is not None:
            self._file.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)
        return len(chunk)

    @property
    def sha256(self) -> str:
        """Returns the hash of all that was written, as 64 hex digits."""
        return self._hash.hexdigest()


def hash_object(objects: Objects, uri: str) -> str:
    """Returns the SHA-256 of a stored object, read part by part. Raises: NotFound, TryAgain."""
    hashed = Hashed()
    objects.read_into(uri, hashed)  # type: ignore[arg-type]  # a file to write to
    return hashed.sha256


@contextmanager
def ours() -> Iterator[None]:
    """Turns what goes wrong within into our side's trouble. Raises: OurTrouble; NotFound and BadRecord as they are."""
    try:
        yield
    except (NotFound, BadRecord):
        raise
    except SwitchyardError as err:
        raise OurTrouble(err) from err


def run_bounded(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], window: int
) -> Iterator[tuple[T, R | BaseException]]:
    """Yields what `work` makes of each item, or raises, as it is done; at most `window` items wait or are at work."""
    pending: dict[Future[R], T] = {}
    remaining = iter(items)
    is_left = True
    try:
        while is_left or pending:
            while is_left and len(pending) < window:
                try:
                    item = next(remaining)
                except StopIteration:
                    is_left = False
                else:
                    pending[pool.submit(work, item)] = item
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), future.exception() or future.result()
    finally:
        for future in pending:
            future.cancel()
        wait(pending)


def _split(listed: Iterator[SourceObject | LeftOut]) -> tuple[list[SourceObject], list[LeftOut]]:
    found: dict[str, SourceObject] = {}
    refused = []
    for one in listed:
        if isinstance(one, LeftOut):
            refused.append(one)
        else:
            found[one.path] = one
    return list(found.values()), refused
