"""What differs between two versions of a model: where they come from, their parameters, and their files."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from switchyard.core.registry.manifest import Manifest, ModelFile
from switchyard.core.registry.rows import ModelVersion

Change = Literal["added", "removed", "changed"]


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not the same; UNSET if a version does not have it."""

    name: str
    before: Any = msgspec.UNSET
    after: Any = msgspec.UNSET


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """One file that is not the same; None if a version does not have it."""

    path: str
    before: ModelFile | None = None
    after: ModelFile | None = None

    @property
    def change(self) -> Change:
        """What the later version did to the file."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs; empty lists where nothing does."""

    origins: list[Differing] = []
    parameters: list[Differing] = []
    files: list[FileChange] = []
    same_parameters: int = 0
    same_files: int = 0


def compare_versions(
    before: ModelVersion, after: ModelVersion, files_before: Manifest, files_after: Manifest
) -> Differences:
    """Returns what differs from `before` to `after`, by name and by path."""
    here, there = before.lineage.parameters, after.lineage.parameters
    parameters = _find_differing(here, there)
    files = _find_files(files_before, files_after)
    paths = {file.path for file in (*files_before.files, *files_after.files)}
    return Differences(
        origins=_find_differing(_to_origins(before), _to_origins(after)),
        parameters=parameters,
        files=files,
        same_parameters=len(here.keys() | there.keys()) - len(parameters),
        same_files=len(paths) - len(files),
    )


def _to_origins(version: ModelVersion) -> dict[str, Any]:
    lineage = version.lineage
    found = {
        "run": lineage.quick_test_id,
        "data": lineage.data_uri,
        "image": lineage.image,
        "code version": lineage.code_version,
        "source": version.source_uri,
        "digest": version.digest,
    }
    return {name: value for name, value in found.items() if value not in ("", None)}


def _find_differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Differing]:
    names = dict.fromkeys([*before, *after])
    found = [
        Differing(name=name, before=before.get(name, msgspec.UNSET), after=after.get(name, msgspec.UNSET))
        for name in names
    ]
    return [one for one in found if not _is_same(one.before, one.after)]


def _is_same(before: Any, after: Any) -> bool:
    """Returns True for equal values; True is not 1 here, although Python says so."""
    return bool(before == after) and isinstance(before, bool) == isinstance(after, bool)


def _find_files(before: Manifest, after: Manifest) -> list[FileChange]:
    here, there = ({file.path: file for file in manifest.files} for manifest in (before, after))
    return [
        FileChange(path=path, before=here.get(path), after=there.get(path))
        for path in sorted(here.keys() | there.keys())
        if here.get(path) != there.get(path)
    ]
