"""Registers models that no run of ours left: from a folder, from MLflow's registry, from an MLflow run.

What lies in MLflow is copied, because it goes when MLflow does. A folder stays where it is.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.mlflow.raw_run import Keys, LostRun
from switchyard.core.ports import RegistrySource, Tracking
from switchyard.core.predictions.sources import Kind, Source, find_unsafe
from switchyard.core.registry.flavors import choose_flavor
from switchyard.core.registry.importing import to_source_key
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.registration import ModelSource, read_source
from switchyard.core.registry.rows import Lineage, ModelVersion, NewVersion, Registered
from switchyard.services.importing import Importing, copy_place, copy_version, find_lineage
from switchyard.services.mlflow_models import choose_of_name
from switchyard.services.model_sources import FIRST_SEEN, to_folder_uri
from switchyard.services.registering import read_manifest

_NO_KEYS: Final = Keys()


@dataclass(frozen=True)
class Ports:
    """Holds what registering from elsewhere reaches."""

    importing: Importing
    open_registry: Callable[[], RegistrySource]
    open_tracking: Callable[[], Tracking]
    pickle_digests: frozenset[str] = frozenset()  # SHA-256 of pickles that the operator lets be served


def register_source(ports: Ports, text: str, name: str, *, by: str = "", description: str = "") -> Registered:
    """Makes the model that `text` names the next version of `name`.

    `core.registry.registration.read_source` reads `text`. A second call finds the first one's version. It reads no file
    of MLflow's, but all files of a folder: a version's files never change.

    Raises:
        BadRequest: `text` does not name a source, or `name` is not a model's name.
        NotFound: no model is there. BadRecord: a loader should not see its files, or two versions are meant.
        StaleWrite: the folder is a version already, and its files have changed since.
        TryAgain, BadSetup: MLflow cannot be reached, or not be read.
    """
    source = read_source(text)
    if source.kind == "folder":
        return _register_folder(ports.importing, source, name, by, description)
    find = _find_version if source.kind == "MLflow model" else _find_run
    key, copy, run_id = find(ports, source, name)
    known = ports.importing.models.find_source(name, key)
    if known is not None:
        return Registered(version=known, is_new=False)
    manifest, folder = copy()
    lineage = find_lineage(ports.importing, run_id)
    return _register(ports.importing, name, key, folder, manifest, lineage, by, description)


def register_first_seen(ports: Ports, run_id: str, path: str, name: str) -> ModelVersion:
    """Returns the version of `name` for the model at `path` in an MLflow run, recorded when it is first seen.

    A second call finds it, and reads no file.

    Raises: as `register_source`; BadRecord also if a file may hold a program, because no one has judged it.
    """
    key, copy, _ = _find_run(ports, read_source(f"runs:/{run_id}/{path}"), name)
    known = ports.importing.models.find_source(name, key)
    if known is not None:
        return known
    manifest, folder = copy()
    where = f"the model {path} of MLflow run {run_id}"
    if unsafe := find_unsafe(manifest.files, ports.pickle_digests):
        raise BadRecord(where, unsafe)
    lineage = find_lineage(ports.importing, run_id)
    return _register(ports.importing, name, key, folder, manifest, lineage, "", f"{where}, {FIRST_SEEN}").version


_Copy = Callable[[], tuple[Manifest, str]]


def _register_folder(ports: Importing, source: ModelSource, name: str, by: str, description: str) -> Registered:
    uri = to_folder_uri(source.value)
    manifest = read_manifest(ports.open_objects(uri), uri, f"the model in {uri}")
    return _register(ports, name, f"folder:{uri}", uri, manifest, Lineage(), by, description)


def _find_version(ports: Ports, source: ModelSource, name: str) -> tuple[str, _Copy, str]:
    with closing(ports.open_registry()) as registry:
        models = registry.read_models()
    model, origin = choose_of_name(models, Source("source", Kind.REGISTRY, source.value))
    key = to_source_key(model.origin, origin.number)
    return key, lambda: copy_version(ports.importing, name, model, origin), origin.run_id


def _find_run(ports: Ports, source: ModelSource, name: str) -> tuple[str, _Copy, str]:
    with closing(ports.open_tracking()) as tracking:
        (run,) = tracking.read_runs([source.value], keys=_NO_KEYS)
    if isinstance(run, LostRun):
        raise run.error
    if not run.info.artifact_uri:
        raise NotFound(f"MLflow run {source.value} names no place for its artifacts, so it has no model to register")
    place = f"{run.info.artifact_uri.rstrip('/')}/{source.path}"
    where = f"the model {source.path} of MLflow run {source.value}"
    key = f"mlflow-run:{source.value}/{source.path}"
    folder = f"mlflow-runs/{source.value}"

    def copy() -> tuple[Manifest, str]:
        try:
            return copy_place(ports.importing, place, folder, where)
        except NotFound:
            logged = _find_logged(ports, source)
            if not logged:
                raise
            return copy_place(ports.importing, logged, folder, where)

    return key, copy, source.value


def _find_logged(ports: Ports, source: ModelSource) -> str:
    """Returns where MLflow 3 has put the files of a logged model; empty: nowhere, or this reader lists none.

    They are not among the run's artifacts, though the model is called runs:/<id>/<name> there."""
    with closing(ports.open_tracking()) as tracking:
        list_models = getattr(tracking, "list_logged_models", None)  # a server and a folder have it (`TrackingDetails`)
        found = list_models() if list_models else ()
        uris = [each.artifact_uri for each in found if (each.run_id, each.name) == (source.value, source.path)]
    return uris[-1] if uris else ""


def _register(
    ports: Importing,
    name: str,
    key: str,
    folder: str,
    manifest: Manifest,
    lineage: Lineage,
    by: str,
    description: str,
) -> Registered:
    return ports.models.register(
        NewVersion(
            name=name,
            source_key=key,
            source_uri=folder,
            manifest=manifest,
            lineage=lineage,
            by=by,
            description=description,
            flavor=choose_flavor(file.path for file in manifest.files),
        )
    )
