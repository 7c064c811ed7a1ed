"""The files of a version of another registry, copied to a folder on this machine: from a bucket or a disk, or by
whatever else can reach them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.export.artifacts import to_place
from switchyard.clients.objects.folders import translated
from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.mlflow.export import Unlisted
from switchyard.core.ports import Objects
from switchyard.core.registry.manifest import find_path_problems
from switchyard.services.importing import Importing

_CHUNK_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True)
class SourceFiles:
    """Where a registry's files may be read.

    `destination` is the MLflow server's own ``--artifacts-destination``, where ``mlflow-artifacts:/`` lies; empty: not
    known. `download` copies what no bucket or disk here has, and is None where there is no server to ask.
    """

    open_objects: Callable[[str], Objects]
    destination: str = ""
    download: Callable[[str, Path], int] | None = None

    def copy(self, uri: str, folder: Path) -> int:
        """Copies all files at or below `uri` to `folder`, which is empty; how many. A second call wants an empty folder
        again.

        Raises:
            NotFound: nothing is there, or nobody can read it. BadRecord: a link, a device, or a path that no model may
            have. TryAgain, BadSetup, BadRequest: it cannot be read.
        """
        if not uri:
            raise NotFound("nobody knows where its files are: its source names a run or a model that is not there")
        place = to_place(uri, self.destination)
        if not isinstance(place, Unlisted):
            return _copy(self.open_objects(place), place, folder)
        if self.download is None:
            raise NotFound(f"{uri} cannot be read from here: {place.reason}, and MLFLOW_TRACKING_URI names no server")
        return self.download(uri, folder)


def open_importing(outside: Outside, where: str = "", destination: str = "", by: str = "") -> Importing:
    """What copying a model of MLflow's reaches, by the settings. Nothing is asked.

    Args:
        where: the registry, in words. destination: as `SourceFiles` has it.
    """
    settings, download = outside.settings, None
    if settings.mlflow_server_uri:
        from switchyard.clients.mlflow import registry_files

        download = partial(registry_files.download, settings.mlflow_server_uri)
    return Importing(
        models=outside.models,
        imports=outside.model_imports,
        open_objects=outside.objects,
        copy_files=SourceFiles(outside.objects, destination, download).copy,
        to_uri=settings.artifacts_uri,
        where=where,
        by=by,
        runs=outside.runs,
    )


def _copy(objects: Objects, place: str, folder: Path) -> int:
    root = f"{place}/"
    if odd := [_to_path(uri, root) for uri in objects.list_odd(root)]:
        raise BadRecord(
            place, [f"{path!r} is a link or no regular file: a model has plain files alone" for path in odd]
        )
    found = {_to_path(uri, root): uri for uri in objects.list(root)}
    if not found:
        objects.stat(place)  # a model in one file
        found = {_to_path(place, f"{place.rpartition('/')[0]}/"): place}
    if problems := find_path_problems(found):
        raise BadRecord(place, problems)
    for path, uri in found.items():
        target, start = folder / path, 0
        with translated(f"write {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                while chunk := objects.read_range(uri, start=start, length=_CHUNK_BYTES):
                    file.write(chunk)
                    start += len(chunk)
                    if len(chunk) < _CHUNK_BYTES:
                        break
    return len(found)


def _to_path(uri: str, root: str) -> str:
    """The path below `root`; of a file: URI as it is on the disk."""
    path = uri.removeprefix(root)
    return unquote(path, errors="surrogateescape") if uri.startswith("file:") else path
