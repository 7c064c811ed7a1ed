"""Finds which of the objects that a manifest or a note names are there.

It reads a list of names and sizes, and no bytes.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from switchyard.core.artifacts.manifest import Copied, to_object_uri
from switchyard.core.errors import NotFound
from switchyard.core.ports import Objects

REMEMBERED: Final = 2_000
"""Objects remembered for each of the 256 folders. A folder with more is looked into again for each run."""
LISTED_FOR: Final = 100
"""Fewer objects of such a folder are asked for one by one: a page of a bucket's list has 1,000."""


class Stored:
    """Knows the objects below one `to_uri`, by their hashes.

    Each folder is listed once, at its first use. `note` tells what is kept afterwards. Safe for several threads."""

    def __init__(self) -> None:
        self._sizes: dict[str, dict[str, int] | None] = {}  # None: more than are remembered
        self._lock = threading.Lock()

    def find_missing(self, objects: Objects, to_uri: str, wanted: Iterable[Copied]) -> frozenset[str]:
        """Returns the hashes of those that are not there, or have another size. Raises: TryAgain, BadSetup."""
        by_folder: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for one in wanted:
            by_folder[one.sha256[:2]][one.sha256] = one.size_bytes
        missing: set[str] = set()
        for name, sizes in by_folder.items():
            there = self._look(objects, to_uri, name, sizes)
            missing.update(sha256 for sha256, size_bytes in sizes.items() if there.get(sha256) != size_bytes)
        return frozenset(missing)

    def note(self, sha256: str, size_bytes: int) -> None:
        """Notes that it is there now."""
        with self._lock:
            sizes = self._sizes.get(sha256[:2])
            if sizes is not None:
                sizes[sha256] = size_bytes

    def _look(self, objects: Objects, to_uri: str, name: str, wanted: Mapping[str, int]) -> Mapping[str, int]:
        prefix = to_object_uri(to_uri, name).rpartition("/")[0] + "/"
        with self._lock:
            if name not in self._sizes:
                found = dict(islice(_list(objects, prefix), REMEMBERED + 1))
                self._sizes[name] = found if len(found) <= REMEMBERED else None
            sizes = self._sizes[name]
        if sizes is not None:
            return sizes
        if len(wanted) > LISTED_FOR:
            return {sha256: size_bytes for sha256, size_bytes in _list(objects, prefix) if sha256 in wanted}
        return {sha256: size for sha256 in wanted if (size := _find_size(objects, to_object_uri(to_uri, sha256))) >= 0}


def _list(objects: Objects, prefix: str) -> Iterator[tuple[str, int]]:
    return ((uri.rpartition("/")[2], stat.size_bytes) for uri, stat in objects.list_stats(prefix))


def _find_size(objects: Objects, uri: str) -> int:
    try:
        return objects.stat(uri).size_bytes
    except NotFound:
        return -1
