"""Reads the artifacts of MLflow's runs in a bucket or on this machine's disk, by our own adapters.

It is a `core.ports.ArtifactSource`.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote

from switchyard.clients.objects.allowed_places import open_places
from switchyard.clients.objects.file_uris import to_path
from switchyard.core.artifacts.manifest import LeftOut, SourceObject
from switchyard.core.artifacts.names import find_name_problem, to_text
from switchyard.core.artifacts.places import Allowed
from switchyard.core.errors import NotFound
from switchyard.core.ports import Objects

_BESIDE_RUNS = ("models", "traces")
"""Folders of an experiment. Source: mlflow/store/tracking/file_store.py and sqlalchemy_store.py, 3.17.2"""
_MOVED = "; if they are in another folder here, say where: --artifacts-from <old folder>=<new folder>"
_LINK = "it is a link, a pipe or a device, and what is behind it may lie anywhere: copy that by itself"


class ObjectsSource:
    """Implements `core.ports.ArtifactSource`, which has the contracts, over the port `Objects`.

    A place is looked at only if `allowed` has it. Links in its path are resolved first, once. After that no link is
    followed, so a link that is made later leads nowhere.
    """

    def __init__(self, open_objects: Callable[[str], Objects], allowed: Allowed) -> None:
        self._open_objects = open_objects
        self._find = open_places(allowed)

    def list(self, place: str) -> Iterator[SourceObject | LeftOut]:
        """See the port."""
        place = self._find(place)
        objects, root = self._open_objects(place), f"{place}/"
        is_empty = True
        for uri, stat in objects.list_stats(root, follow_links=False):
            is_empty = False
            path = _to_name(uri, root)
            problem = find_name_problem(path)
            if problem:
                yield LeftOut(path=to_text(path), reason=problem)
            else:
                yield SourceObject(path=path, size_bytes=stat.size_bytes, generation=stat.generation)
        for uri in objects.list_odd(root):
            is_empty = False
            yield LeftOut(path=to_text(_to_name(uri, root)), reason=_LINK)
        if is_empty and place.startswith("file:"):
            _check_is_seen(place)

    def fetch(self, place: str, found: SourceObject, file: BinaryIO) -> SourceObject:
        """See the port."""
        place = self._find(place)
        name = found.path if not place.startswith("file:") else quote_from_bytes(found.path.encode())
        stat = self._open_objects(place).read_into(f"{place}/{name}", file, follow_links=False)
        return SourceObject(path=found.path, size_bytes=stat.size_bytes, generation=stat.generation)


def _to_name(uri: str, root: str) -> str:
    path = uri.removeprefix(root)
    return unquote(path, errors="surrogateescape") if root.startswith("file:") else path


def _check_is_seen(place: str) -> None:
    """Says whether a place without a folder can be seen from this machine at all.

    A run that logged no artifact has no folder, and neither has one with artifacts on another machine. MLflow makes
    ``<root>/<experiment>/<run>/artifacts``, and ``<root>/<experiment>/models/<id>/artifacts``. Where even the root is
    missing, it is not this machine's.

    Raises: NotFound.
    """
    path = to_path(place)
    above = [path, *path.parents][:3]
    if above[-1].name in _BESIDE_RUNS:
        above.append(above[-1].parent)
    if above[-1].name.isdecimal():  # an experiment's id, so the folder above it is MLflow's
        above.append(above[-1].parent)
    if not any(folder.is_dir() for folder in above):
        raise NotFound(f"this machine has no folder {above[-1]}: the artifacts are on another one{_MOVED}")
