"""Finds which versions of the registry need which files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from switchyard.core.decommission.clearing import Facts, Thing, What
from switchyard.core.errors import SwitchyardError
from switchyard.core.ports import Models
from switchyard.core.registry.rows import Model, ModelVersion
from switchyard.core.registry.stages import Stage
from switchyard.services.clearing_names import OpenObjects, to_real

_CACHED: Final = re.compile("sha256-[0-9a-f]{64}")
_ANSWER: Final = (Stage.PRODUCTION, Stage.STAGING)


class ModelLooks:
    """The registry's versions, as they were read last."""

    def __init__(self, open_objects: OpenObjects, models: Models, cache: Path) -> None:
        self._open_objects = open_objects
        self._models = models
        self._cache = cache
        self._at: dict[str, list[ModelVersion]] = {}  # by the place of their files
        self._within: dict[str, list[ModelVersion]] = {}  # by each folder that this place lies in
        self._by_digest: dict[str, list[tuple[Model, ModelVersion]]] = {}

    def read(self) -> None:
        """Reads all versions again."""
        self._at, self._within, self._by_digest = {}, {}, {}
        for model in self._models.list_models():
            for version in self._models.list_versions(model.name):
                self._by_digest.setdefault(version.digest, []).append((model, version))
                if version.source_uri:
                    place = to_real(version.source_uri)
                    self._at.setdefault(place, []).append(version)
                    for above in _list_above(place):
                        self._within.setdefault(above, []).append(version)

    def to_facts(self, folder: str) -> Facts:
        """Returns what needs the files of a folder: versions with files there, within it, or in a folder above it."""
        place = to_real(folder)
        found = [*self._at.get(place, []), *self._within.get(place, [])]
        found += [one for above in _list_above(place) for one in self._at.get(above, [])]
        return Facts(
            versions=tuple(sorted({say_version(one) for one in found if one.tombstoned_at is None})),
            retired=tuple(sorted({say_version(one) for one in found if one.tombstoned_at is not None})),
        )

    def find_held(self, name: str) -> tuple[str, ...]:
        """Returns the versions with files at or below `name`: someone has registered a folder there."""
        place = to_real(name)
        found = [*self._at.get(place, []), *self._within.get(place, [])]
        return tuple(sorted({say_version(one) for one in found if one.tombstoned_at is None}))

    def list_cached(self) -> Iterator[Thing]:
        """Yields the private copies of models. What else lies there is not recognised."""
        if not self._cache.is_dir():
            return
        objects = self._open_objects(self._cache.as_uri())
        for path in sorted(self._cache.iterdir()):
            if path.is_symlink() or not path.is_dir() or not _CACHED.fullmatch(path.name):
                doubt = "a load is at work there, or was killed; the next one removes it"
                facts = Facts(doubt=doubt if path.name.startswith("part-") else "")
                yield Thing(
                    what=What.UNKNOWN, name=path.as_uri(), objects=(), size_bytes=0, written_at=None, facts=facts
                )
                continue
            dated = list(objects.list_dated(f"{path.as_uri()}/"))
            yield Thing(
                what=What.CACHED_MODEL,
                name=path.as_uri(),
                objects=tuple(sorted((one.uri, one.stat.generation) for one in dated)),
                size_bytes=sum(one.stat.size_bytes for one in dated),
                written_at=max((one.written_at for one in dated), default=None),
                facts=self._to_cached_facts(path.name.replace("-", ":", 1)),
            )

    def _to_cached_facts(self, digest: str) -> Facts:
        found = [(model, one) for model, one in self._by_digest.get(digest, []) if one.tombstoned_at is None]
        if not self._by_digest.get(digest):
            return Facts(doubt="no version has this digest; another database's may")
        answering = {say_version(one) for model, one in found if one.stage in _ANSWER or one.version == model.previous}
        return Facts(
            versions=tuple(sorted(answering)),
            has_source=not found or any(self._has_files(one) for _, one in found),
        )

    def _has_files(self, version: ModelVersion) -> bool:
        """Returns whether every file is where the version has it, by name and size."""
        root = f"{version.source_uri.rstrip('/')}/"
        try:
            manifest = self._models.read_files(version.name, version.version)
            sizes = {to_real(uri): stat.size_bytes for uri, stat in self._open_objects(root).list_stats(root)}
        except SwitchyardError:
            return False
        base = to_real(root)
        return all(sizes.get(f"{base}/{file.path}") == file.size_bytes for file in manifest.files)


def _list_above(place: str) -> list[str]:
    """Returns the folders that `place` lies in, the nearest first."""
    parts = place.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def say_version(version: ModelVersion) -> str:
    """Returns the version in words."""
    return f"{version.version} of {version.name}"
