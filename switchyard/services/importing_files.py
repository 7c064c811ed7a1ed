"""Copies the files of another registry's version to a folder on this machine.

They come from a bucket or a disk, or from any other source that can reach them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from switchyard.clients.connect import Outside
from switchyard.clients.objects.allowed_places import open_places
from switchyard.clients.objects.folders import translated
from switchyard.core.artifacts.places import Allowed, Unreachable, to_place, without_password
from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.ports import Objects
from switchyard.core.registry.manifest import find_path_problems
from switchyard.services.importing import Importing


@dataclass(frozen=True)
class SourceFiles:
    """Knows where a registry's files may be read.

    `allowed` is what may be read of this machine and of our own bucket: everyone who may write to MLflow can say where
    files are. `destination` is the MLflow server's own ``--artifacts-destination``, where ``mlflow-artifacts:/`` lies;
    empty: not known. `download` copies what is in no bucket or disk here, and is None if no server can be asked.
    `server` is its address, the only one that is ever called.
    """

    open_objects: Callable[[str], Objects]
    destination: str = ""
    download: Callable[[str, Path], int] | None = None
    allowed: Allowed = field(default_factory=Allowed)
    server: str = ""

    def copy(self, uri: str, folder: Path) -> int:
        """Copies all files at or below `uri` to `folder`, which is empty; returns how many.

        A second call needs an empty folder again.

        Raises:
            NotFound: nothing is there, or nothing here can read it. BadRecord: a link, a device, or a path that no
                model may have. TryAgain, BadSetup, BadRequest: it cannot be read, or may not.
        """
        if not uri:
            raise NotFound("where its files are is not known: its source names a run or a model that is not there")
        shown = without_password(uri)
        place = to_place(uri, destination=self.destination, server=self.server)
        if isinstance(place, Unreachable):
            raise NotFound(f"{shown} cannot be read from here: {place.reason}")
        if place.reader == "objects":
            found = open_places(self.allowed)(place.uri)
            return _copy(self.open_objects(found), found, folder)
        if self.download is None:
            raise NotFound(
                f"{shown} cannot be read from here: only MLflow's client reads it, and no server is named. Name it: "
                "MLFLOW_TRACKING_URI"
            )
        return self.download(place.uri, folder)


def open_importing(
    outside: Outside, where: str = "", destination: str = "", by: str = "", roots: Sequence[str] = ()
) -> Importing:
    """Returns what copying a model of MLflow's reaches, by the settings. Asks nothing.

    Args:
        where: the registry, in words. destination: as `SourceFiles` has it. roots: folders that may be read, besides
            those of the settings.
    """
    settings, download = outside.settings, None
    if settings.mlflow_server_uri:
        from switchyard.clients.mlflow import registry_files

        download = partial(registry_files.download, settings.mlflow_server_uri)
    return Importing(
        models=outside.models,
        imports=outside.model_imports,
        open_objects=outside.objects,
        copy_files=SourceFiles(
            outside.objects,
            destination,
            download,
            allowed=outside.to_allowed(roots, destination),
            server=settings.mlflow_server_uri,
        ).copy,
        to_uri=settings.artifacts_uri,
        where=where,
        by=by,
        runs=outside.runs,
    )


def _copy(objects: Objects, place: str, folder: Path) -> int:
    root = f"{place}/"
    if odd := [_to_path(uri, root) for uri in objects.list_odd(root)]:
        raise BadRecord(
            place, [f"{path!r} is a link or no regular file: a model may have only plain files" for path in odd]
        )
    found = {_to_path(uri, root): uri for uri, _ in objects.list_stats(root, follow_links=False)}
    if not found:
        objects.stat(place)  # a model in one file
        found = {_to_path(place, f"{place.rpartition('/')[0]}/"): place}
    if problems := find_path_problems(found):
        raise BadRecord(place, problems)
    for path, uri in found.items():
        target = folder / path
        with translated(f"write {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                objects.read_into(uri, file, follow_links=False)
    return len(found)


def _to_path(uri: str, root: str) -> str:
    """Returns the path below `root`; of a file: URI as it is on the disk."""
    path = uri.removeprefix(root)
    return unquote(path, errors="surrogateescape") if uri.startswith("file:") else path
