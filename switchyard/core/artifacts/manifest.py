"""What a run's copied artifacts are: the manifest, which is written last, and names each file by its content."""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from switchyard.core.artifacts.names import find_name_problem
from switchyard.core.errors import BadRecord
from switchyard.core.strict_json import decode_strictly

FORMAT: Final = 1
_SHA256: Final = re.compile("[0-9a-f]{64}")
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_OWNER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")  # a trace's has 35, and its column takes 50


class SourceObject(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An artifact as its store lists it.

    `generation` grows with every write; None: the store has nothing of the kind, so that only the size tells whether it
    is another one.
    """

    path: str
    size_bytes: int
    generation: int | None = None


class Copied(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, order=True):
    """An artifact that is kept: what its source was when it was read, and its content."""

    path: str
    size_bytes: int
    sha256: str  # 64 hex digits, of all its bytes
    generation: int | None = None  # of its source

    def is_of(self, found: SourceObject) -> bool:
        """Returns True if the source is still the one that was read, as far as its store can tell."""
        return (self.path, self.size_bytes, self.generation) == (found.path, found.size_bytes, found.generation)


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, order=True):
    """An artifact that is not kept, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path!r}: {self.reason}"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All artifacts of one run, by path; `to_manifest` makes it."""

    format: int = FORMAT
    mlflow_run_id: str  # or the id of a logged model, or of a trace
    source: str  # the place that was read, without a password
    objects: tuple[Copied, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The size of all artifacts together; one that is there under two names counts twice."""
        return sum(found.size_bytes for found in self.objects)

    def to_json(self) -> bytes:
        """Returns the one way to write it down: keys and artifacts in order, no blanks, UTF-8."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 hex digits, of `to_json`: equal manifests, and only those, have equal digests."""
        return f"sha256:{hashlib.sha256(self.to_json()).hexdigest()}"


def to_manifest(
    mlflow_run_id: str, source: str, objects: Iterable[Copied], left_out: Iterable[LeftOut] = ()
) -> Manifest:
    """Returns the manifest of these artifacts, in order. Raises: BadRecord: as `read_manifest`."""
    made = Manifest(
        mlflow_run_id=mlflow_run_id, source=source, objects=tuple(sorted(objects)), left_out=tuple(sorted(left_out))
    )
    _check(made, f"the manifest of MLflow run {mlflow_run_id}")
    return made


def read_manifest(data: bytes, where: str, *, digest: str = "") -> Manifest:
    """Returns the manifest that `data` is; with `digest`, the one that has it.

    Raises: BadRecord: it is not a manifest, not of this format, or not the one of that digest.
    """
    try:
        found = decode_strictly(data, Manifest)
    except ValueError as err:
        raise BadRecord(where, [f"it is not a manifest of a run's artifacts: {err}"]) from err
    _check(found, where)
    if digest and found.digest != digest:
        raise BadRecord(where, [f"it was changed: its digest is {found.digest}, not {digest}"])
    return found


def to_object_uri(to_uri: str, sha256: str) -> str:
    """Returns where the content of that hash is kept.

    It is in one of 256 folders, because a disk is slow with many files in one.
    """
    return f"{to_uri}/objects/{sha256[:2]}/{sha256}"


def to_manifest_uri(to_uri: str, mlflow_run_id: str, digest: str) -> str:
    """Returns where a manifest of a run is."""
    return f"{to_uri}/runs/{mlflow_run_id}/{digest.removeprefix('sha256:')}.json"


def to_manifests_prefix(to_uri: str, mlflow_run_id: str) -> str:
    """Returns what the URIs of all manifests of a run begin with."""
    return f"{to_uri}/runs/{mlflow_run_id}/"


def to_notes_prefix(to_uri: str, mlflow_run_id: str) -> str:
    """Returns what the URIs of the notes of a copy that has not ended begin with."""
    return f"{to_uri}/unfinished/{mlflow_run_id}/"


def is_run_id(text: str) -> bool:
    """Returns True for what can name a run of MLflow's, a logged model or a trace, and a folder of ours."""
    return _OWNER_ID.fullmatch(text) is not None


def _check(manifest: Manifest, where: str) -> None:
    problems = []
    if manifest.format != FORMAT:
        problems.append(f"`format` must be {FORMAT}; got {manifest.format}")
    if not is_run_id(manifest.mlflow_run_id):
        problems.append(f"`mlflow_run_id` must be the id of a run; got {manifest.mlflow_run_id!r}")
    before = ""
    for found in manifest.objects:
        if found.path <= before:
            problems.append(f"{found.path!r} must come after {before!r}, and be there once")
        before = found.path
        problem = find_name_problem(found.path)
        if problem:
            problems.append(f"{found.path!r}: {problem}")
        if not _SHA256.fullmatch(found.sha256):
            problems.append(f"{found.path!r}: sha256 must be 64 hex digits; got {found.sha256!r}")
        if found.size_bytes < 0:
            problems.append(f"{found.path!r}: size_bytes must not be below 0; got {found.size_bytes}")
    if problems:
        raise BadRecord(where, problems[:20])


def is_digest(text: str) -> bool:
    """Returns True for ``sha256:`` and 64 hex digits."""
    return _DIGEST.fullmatch(text) is not None
