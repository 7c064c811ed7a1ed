"""Reads the copied artifacts of a run, as serving lists and sends them: by their names, and by their hashes."""

import hashlib
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.core.artifacts.copies import ArtifactCopy
from switchyard.core.artifacts.manifest import Copied, Manifest, read_manifest, to_manifest_uri, to_object_uri
from switchyard.core.errors import BadRecord, NotFound, SwitchyardError
from switchyard.core.ports import Objects

PART_BYTES: Final = 1024 * 1024
"""How much of an object is in memory, twice, for each reader of one."""


class KeptArtifacts(msgspec.Struct, frozen=True):
    """The copy of a run's artifacts, and its manifest."""

    copy: ArtifactCopy
    manifest: Manifest

    def find(self, path: str) -> Copied:
        """Returns the artifact of that name. Raises: NotFound."""
        objects = self.manifest.objects  # sorted by path, so that one of 100,000 is found by 17 looks
        at = bisect_left(objects, path, key=lambda one: one.path)
        if at == len(objects) or objects[at].path != path:
            raise NotFound(f"MLflow run {self.copy.mlflow_run_id} has no copied artifact named {path[:200]!r}")
        return objects[at]


class ArtifactSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's page shows of its artifacts."""

    objects: tuple[Copied, ...]  # the first ones, by name
    count: int
    size_bytes: int
    left_out: int
    problem: str = ""  # why they cannot be listed


def find_artifacts(outside: Outside, mlflow_run_id: str) -> KeptArtifacts | None:
    """Returns the copied artifacts of an MLflow run; None: there is no copy.

    Raises: BadRecord: its manifest is gone, or was changed. TryAgain: it cannot be read now.
    """
    if not mlflow_run_id:
        return None
    copy = outside.artifact_copies.read([mlflow_run_id]).get(mlflow_run_id)
    if copy is None:
        return None
    return KeptArtifacts(copy, _read_manifest(outside.objects(copy.to_uri), copy.to_uri, mlflow_run_id, copy.digest))


def summarize(outside: Outside, mlflow_run_id: str, *, limit: int) -> ArtifactSummary | None:
    """Returns what a page shows; None: nothing was copied. A copy that cannot be read is reported on the page."""
    try:
        kept = find_artifacts(outside, mlflow_run_id)
    except SwitchyardError as err:
        return ArtifactSummary(objects=(), count=0, size_bytes=0, left_out=0, problem=str(err))
    if kept is None or not (kept.manifest.objects or kept.manifest.left_out):
        return None
    return ArtifactSummary(
        objects=kept.manifest.objects[:limit],
        count=len(kept.manifest.objects),
        size_bytes=kept.copy.size_bytes,
        left_out=len(kept.manifest.left_out),
    )


def read_object(outside: Outside, kept: KeptArtifacts, found: Copied) -> Iterator[bytes]:
    """Yields the bytes of an artifact, part by part.

    The last part comes only when all bytes have the hash that they should have. So a damaged artifact never comes
    whole.

    Raises: BadRecord: it is damaged, or gone.
    """
    uri = to_object_uri(kept.copy.to_uri, found.sha256)
    hashed, waiting = hashlib.sha256(), b""
    for part in _read(outside, uri, 0, found.size_bytes):
        hashed.update(part)
        if waiting:
            yield waiting
        waiting = part
    if hashed.hexdigest() != found.sha256:
        raise BadRecord(uri, ["its content is not what was copied: copy it again (switchyard artifacts copy --again)"])
    yield waiting


def read_part(outside: Outside, kept: KeptArtifacts, found: Copied, start: int, length: int) -> Iterator[bytes]:
    """Yields `length` bytes of an artifact from `start` on. A part has no hash.

    Raises: BadRecord: the artifact is shorter, or gone.
    """
    return _read(outside, to_object_uri(kept.copy.to_uri, found.sha256), start, length)


def _read(outside: Outside, uri: str, start: int, length: int) -> Iterator[bytes]:
    objects, end = outside.objects(uri), start + length
    while start < end:
        try:
            part = objects.read_range(uri, start=start, length=min(PART_BYTES, end - start))
        except NotFound as err:
            raise BadRecord(uri, ["it is gone: copy it again (switchyard artifacts copy)"]) from err
        if not part:
            raise BadRecord(uri, [f"it has {start:,} bytes; expected {end:,} bytes or more"])
        yield part
        start += len(part)


MANIFESTS_BYTES: Final = 32 * 1024 * 1024
"""The bytes of manifest files that are remembered. A manifest takes about twice its file in memory; one of 100,000
artifacts has about 15 MB."""


class Manifests:
    """Holds the manifests that were read last, up to `limit_bytes` of their files.

    A larger manifest is not remembered. Safe for several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[tuple[str, str], tuple[Manifest, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def find(self, to_uri: str, digest: str) -> Manifest | None:
        """Returns the manifest; None: it is not remembered."""
        with self._lock:
            found = self._kept.get((to_uri, digest))
            if found is not None:
                self._kept.move_to_end((to_uri, digest))
        return found[0] if found is not None else None

    def keep(self, to_uri: str, digest: str, manifest: Manifest, size_bytes: int) -> None:
        """Remembers the manifest; without room, forgets those used longest ago. A second call changes nothing."""
        with self._lock:
            if size_bytes > self._limit_bytes or (to_uri, digest) in self._kept:
                return
            while self.size_bytes + size_bytes > self._limit_bytes:
                _, (_, forgotten_bytes) = self._kept.popitem(last=False)
                self.size_bytes -= forgotten_bytes
            self._kept[to_uri, digest] = (manifest, size_bytes)
            self.size_bytes += size_bytes


_manifests: Final = Manifests(MANIFESTS_BYTES)


def _read_manifest(objects: Objects, to_uri: str, run_id: str, digest: str) -> Manifest:
    """Reads a manifest once, as long as it is remembered: it never changes."""
    known = _manifests.find(to_uri, digest)
    if known is not None:
        return known
    uri = to_manifest_uri(to_uri, run_id, digest)
    try:
        data, _ = objects.read(uri)
    except NotFound as err:
        raise BadRecord(uri, ["the manifest of the run's artifacts is gone: copy them again"]) from err
    found = read_manifest(data, uri, digest=digest)
    _manifests.keep(to_uri, digest, found, len(data))
    return found
