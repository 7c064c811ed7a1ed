"""Finds which copies of MLflow's artifacts still belong to a run."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from switchyard.core.artifacts.copies import ArtifactCopy
from switchyard.core.artifacts.manifest import read_manifest, to_manifest_uri
from switchyard.core.artifacts.places import lies_in
from switchyard.core.decommission.clearing import Facts, What
from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.ports import ArtifactCopies
from switchyard.services.clearing_names import Found, OpenObjects, list_places

DEFAULT: Final = "mlflow-artifacts"
_FRESH_S: Final = 1.0
"""The highest age of the list of manifests: with thousands, a list before each of many deletes would take hours."""


class CopyLooks:
    """The copies below ARTIFACTS_URI, as they were looked at last."""

    def __init__(
        self,
        open_objects: OpenObjects,
        copies: ArtifactCopies,
        root: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_objects, self._copies, self._root, self._clock = open_objects, copies, root, clock
        self._rows: dict[str, ArtifactCopy] = {}
        self._named: dict[str, set[str]] = {}  # by the place of copies: the hashes that a manifest names
        self._doubts: dict[str, str] = {}
        self._unfinished: set[str] = set()
        self._read: dict[tuple[str, int], frozenset[str]] = {}  # by a manifest's URI and generation
        self._read_at = float("-inf")

    def list_roots(self) -> list[str]:
        """Returns the places of copies below ARTIFACTS_URI, the innermost first."""
        if not self._rows:
            self._rows = self._copies.read(self._copies.list_ids())
        roots = {f"{self._root}/{DEFAULT}", *(one.to_uri for one in self._rows.values())}
        return sorted((one for one in roots if lies_in(one, self._root) and one != self._root), reverse=True)

    def read(self, found: Sequence[Found]) -> None:
        """Reads rows, manifests and notes, of what has just been listed."""
        self._rows = self._copies.read(self._copies.list_ids())
        self._named, self._doubts = {}, {}
        self._unfinished = {one.folder for one in found if one.what is What.UNFINISHED_COPY}
        there = set()
        for one in found:
            if one.what is What.COPY_MANIFEST:
                ((uri, stat),) = one.objects
                there.add(uri)
                self._read_manifest(one.folder, uri, stat.generation)
        for run_id, row in self._rows.items():
            uri = to_manifest_uri(row.to_uri, run_id, row.digest)
            if uri not in there:
                self._doubts.setdefault(row.to_uri, f"the list of a run's copied artifacts is not there: {uri}")
        self._read_at = self._clock()

    def refresh(self) -> None:
        """Reads the same again if the last look is more than a moment old."""
        if self._clock() - self._read_at < _FRESH_S:
            return
        found: list[Found] = []
        for root in self.list_roots():
            objects = self._open_objects(root)
            for part in ("runs", "unfinished"):
                found += list_places(objects, self._root, self.list_roots(), f"{root}/{part}/")
        self.read(found)

    def to_facts(self, one: Found) -> Facts:
        """Returns what needs it."""
        doubt, is_unfinished = self._doubts.get(one.folder, ""), one.folder in self._unfinished
        if one.what is What.COPIED_OBJECT:
            sha256 = one.name.rpartition("/")[2]
            is_named = sha256 in self._named.get(one.folder, set())
            return Facts(is_named=is_named, is_unfinished=is_unfinished, doubt="" if is_named else doubt)
        run_id = one.name.removeprefix(f"{one.folder}/").split("/")[1]
        row = self._rows.get(run_id)
        is_other = row is None or row.to_uri != one.folder
        if one.what is What.COPY_MANIFEST:
            is_named = is_other or (row is not None and one.name == to_manifest_uri(row.to_uri, run_id, row.digest))
            return Facts(is_named=is_named, is_unfinished=is_unfinished, doubt="" if is_named else doubt)
        newest = max((dated.written_at for dated in one.dated), default=None)
        is_left = row is not None and not is_other and newest is not None and newest < row.copied_at
        return Facts(is_unfinished=not is_left)

    def _read_manifest(self, folder: str, uri: str, generation: int) -> None:
        hashes = self._read.get((uri, generation))
        if hashes is None:
            digest = f"sha256:{uri.rpartition('/')[2].removesuffix('.json')}"
            try:
                manifest = read_manifest(self._open_objects(uri).read(uri)[0], uri, digest=digest)
            except (BadRecord, NotFound) as err:
                self._doubts[folder] = f"a list of copied artifacts cannot be read: {err}"
                return
            hashes = frozenset(one.sha256 for one in manifest.objects)
            self._read[uri, generation] = hashes
        self._named.setdefault(folder, set()).update(hashes)
