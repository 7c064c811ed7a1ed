"""Sorts what lies below ARTIFACTS_URI by its name alone: which objects are one thing, and of which kind."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from switchyard.clients.objects.file_uris import to_path
from switchyard.core.decommission.clearing import Facts, Thing, What
from switchyard.core.mlflow.export import MARKER
from switchyard.core.ports import Dated, Objects, Stat
from switchyard.core.registry.manifest import CARDS

OpenObjects = Callable[[str], Objects]

_RUN: Final = re.compile(r"(quick_tests/([1-9][0-9]{0,17})/)(.+)")
_RECORDS: Final = ("training_metrics.json", "ended.json", "mlflow_info.json", *CARDS)
_PARTS: Final = ("model", "embeddings", "score")
_IMPORTED: Final = re.compile(r"models/[^/]+/[^/]+-[0-9a-f]{12}/")
_OBJECT: Final = re.compile(r"objects/([0-9a-f]{2})/\1[0-9a-f]{62}")
_MANIFEST: Final = re.compile(r"runs/[A-Za-z0-9][A-Za-z0-9_-]{0,31}/[0-9a-f]{64}\.json")
_NOTES: Final = re.compile(r"(unfinished/[A-Za-z0-9][A-Za-z0-9_-]{0,31}/)[0-9a-f]{64}\.json")
EXPORT: Final = "mlflow-export/"


class Found(msgspec.Struct, kw_only=True):
    """A thing before anyone has asked what needs it."""

    what: What
    name: str
    folder: str  # of a run, or of all copies; without a slash at its end
    quick_test_id: int = 0
    objects: list[tuple[str, Stat]] = []
    dated: list[Dated] = []

    def to_thing(self, facts: Facts) -> Thing:
        """Returns the thing with what is known of it."""
        times = [one.written_at for one in self.dated]
        return Thing(
            what=self.what,
            name=self.name,
            objects=tuple(sorted((uri, stat.generation) for uri, stat in self.objects)),
            size_bytes=sum(stat.size_bytes for _, stat in self.objects),
            written_at=max(times, default=None),
            facts=facts,
        )


def list_places(objects: Objects, root: str, copy_roots: Sequence[str], prefix: str = "") -> list[Found]:
    """Returns all things below `root` with names that start with `prefix`, sorted by name.

    A link is a thing that is not recognised. What lies behind it is not looked at."""
    listed = list(objects.list_dated(prefix or f"{root}/"))
    exports = {one.uri.removesuffix(MARKER) for one in listed if one.uri.endswith(f"/{MARKER}")}
    found: dict[tuple[What, str], Found] = {}
    for one in listed:
        made = _to_found(one.uri, root, copy_roots, exports)
        if made is not None:
            thing = found.setdefault((made.what, made.name), made)
            thing.objects.append((one.uri, one.stat))
            thing.dated.append(one)
    for uri in objects.list_odd(prefix or f"{root}/"):
        found.setdefault((What.UNKNOWN, uri), Found(what=What.UNKNOWN, name=uri, folder=root))
    return sorted(found.values(), key=lambda one: (one.name, one.what))


def _to_found(uri: str, root: str, copy_roots: Sequence[str], exports: set[str]) -> Found | None:
    """Returns the thing; None: it is our own note."""
    path = uri.removeprefix(f"{root}/")
    for copies in copy_roots:
        if uri.startswith(f"{copies}/"):
            return _to_copy(uri, copies)
    for folder in exports:
        if uri.startswith(folder):
            return Found(what=What.EXPORT, name=folder, folder=root)
    if path.startswith(EXPORT):
        return Found(what=What.EXPORT, name=f"{root}/{EXPORT}", folder=root)
    if path.startswith("manifests/"):
        return Found(what=What.EVIDENCE, name=uri, folder=root)
    if re.fullmatch(r"clean/[0-9a-f]{64}\.json", path):
        return None
    if run := _RUN.fullmatch(path):
        return _to_run(uri, root, run)
    if imported := _IMPORTED.match(path):
        return Found(what=What.IMPORTED_MODEL, name=f"{root}/{imported[0]}", folder=root)
    return _to_unknown(uri, root)


def _to_run(uri: str, root: str, run: re.Match[str]) -> Found:
    folder, first = f"{root}/{run[1]}", run[3].partition("/")[0]
    id_ = int(run[2])
    if run[3] in _RECORDS:
        return Found(what=What.RUN_RECORD, name=uri, folder=folder.rstrip("/"), quick_test_id=id_)
    if first in _PARTS and first != run[3]:
        return Found(what=What.RUN_MODEL, name=f"{folder}{first}/", folder=folder.rstrip("/"), quick_test_id=id_)
    if first == "checkpoints" and first != run[3]:
        return Found(what=What.CHECKPOINTS, name=f"{folder}{first}/", folder=folder.rstrip("/"), quick_test_id=id_)
    return _to_unknown(uri, root)


def _to_copy(uri: str, copies: str) -> Found:
    path = uri.removeprefix(f"{copies}/")
    if _OBJECT.fullmatch(path):
        return Found(what=What.COPIED_OBJECT, name=uri, folder=copies)
    if _MANIFEST.fullmatch(path):
        return Found(what=What.COPY_MANIFEST, name=uri, folder=copies)
    if notes := _NOTES.fullmatch(path):
        return Found(what=What.UNFINISHED_COPY, name=f"{copies}/{notes[1]}", folder=copies)
    return _to_unknown(uri, copies)


def _to_unknown(uri: str, root: str) -> Found:
    """Returns objects one by one: a person who reads the list sees each."""
    return Found(what=What.UNKNOWN, name=uri, folder=root)


def to_real(uri: str) -> str:
    """Returns the same for all names of one place: links and escapes of a file's URI do not count."""
    return str(to_path(uri.rstrip("/")).resolve()) if uri.startswith("file:") else uri.rstrip("/")


def to_known(path: Path, root: str) -> bool:
    """Returns true if `path` is ARTIFACTS_URI's folder, or holds it."""
    return root.startswith("file:") and Path(to_real(root)).is_relative_to(path.resolve())
