"""Brings another registry's models into ours: copies and hashes files, and writes rows version by version.

After a kill at any point, a second call goes on where it was. What is there already is not read again.
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from switchyard.core.errors import BadRecord, BadSetup, NotFound, SwitchyardError, catch, to_message
from switchyard.core.ports import ModelImports, Models, Objects, Runs
from switchyard.core.registry.flavors import choose_flavor
from switchyard.core.registry.importing import (
    NOT_HERE,
    Chosen,
    ImportedVersion,
    ModelOrigin,
    ModelVerified,
    SourceModel,
    VersionImport,
    VersionOrigin,
    find_field_differences,
    to_source_key,
)
from switchyard.core.registry.manifest import Manifest, ModelFile, find_differences, to_manifest
from switchyard.core.registry.rows import Lineage, ModelVersion, Promotion
from switchyard.services.registering import PARTS, read_files

_CHUNK_BYTES: Final = 8 * 1024 * 1024
FOLDER: Final = "models"
"""The folder below ARTIFACTS_URI in which copied files lie."""


CopyFiles = Callable[[str, Path], int]
"""Copies what is at a URI to an empty folder, and returns the number of files. Raises any of our errors."""


@dataclass(frozen=True)
class Importing:
    """Holds what importing reaches."""

    models: Models
    imports: ModelImports
    open_objects: Callable[[str], Objects]
    copy_files: CopyFiles
    to_uri: str  # below which files are copied
    where: str = ""  # the registry, in words
    by: str = ""
    runs: Runs | None = None  # ours; some may be the MLflow runs that versions came from; None: not looked for


def import_version(ports: Importing, name: str, model: SourceModel, number: int, chosen: Chosen) -> VersionImport:
    """Makes version `number` of the model `name` here, with its files.

    A second call reads no file, unless there were none: then it tries again.

    Raises:
        StaleWrite: another version has this number here.
    """
    origin = next(version for version in model.versions if version.number == number)
    known = ports.models.find_source(name, to_source_key(model.origin, number))
    if known is not None and known.digest:
        # Its files are here. What people have written there since comes too.
        same = ImportedVersion(origin=origin, stage=chosen.stages[number], lineage=find_lineage(ports, origin.run_id))
        ports.imports.add_version(name, model.origin, same, where=ports.where, by=ports.by)
        return VersionImport(number=number)
    copied = catch(lambda: copy_version(ports, name, model, origin))
    if isinstance(copied, Exception) and not isinstance(copied, SwitchyardError):
        raise copied
    why = to_message(copied) if isinstance(copied, Exception) else ""
    manifest, folder = (None, "") if isinstance(copied, Exception) else copied
    version = ImportedVersion(
        origin=origin,
        stage=chosen.stages[number],
        manifest=manifest,
        why_no_files=why,
        source_uri=folder or origin.source,
        flavor=choose_flavor(file.path for file in manifest.files) if manifest else "",
        lineage=find_lineage(ports, origin.run_id),
    )
    is_new = ports.imports.add_version(name, model.origin, version, where=ports.where, by=ports.by)
    return VersionImport(
        number=number,
        is_new=is_new,
        files=len(manifest.files) if manifest else 0,
        size_bytes=manifest.size_bytes if manifest else 0,
        no_files=why,
    )


def find_lineage(ports: Importing, mlflow_run_id: str) -> Lineage:
    """Returns our run of that MLflow run, with what it was trained with; empty: none is known."""
    if ports.runs is None or not mlflow_run_id:
        return Lineage()
    id_ = ports.runs.find_mlflow_runs([mlflow_run_id]).get(mlflow_run_id)
    if id_ is None:
        return Lineage()
    return Lineage(quick_test_id=id_, parameters=ports.runs.read_run(id_).parameters)


def copy_version(ports: Importing, name: str, model: SourceModel, origin: VersionOrigin) -> tuple[Manifest, str]:
    """Copies a version's files; returns their manifest, and the folder of ours that holds them."""
    where = f"version {origin.number} of model {name}"
    return copy_place(ports, model.places.get(origin.number, ""), f"{quote(name, safe='')}/{origin.number}", where)


def copy_place(ports: Importing, place: str, folder_name: str, where: str) -> tuple[Manifest, str]:
    """Copies the files below `place`; returns their manifest, and the folder of ours that holds them.

    A second call copies the same to the same folder."""
    with tempfile.TemporaryDirectory(prefix="switchyard-import-") as made:
        raw, kept = Path(made, "raw"), Path(made, "kept")
        raw.mkdir()
        ports.copy_files(place, raw)
        # As the trainer's own models lie: a version may be made of what is below these folders.
        is_ours = all(path.name in PARTS and path.is_dir() for path in raw.iterdir())
        kept.mkdir()
        raw.rename(kept if is_ours else kept / PARTS[0])
        manifest = to_manifest([_hash(path, kept) for path in sorted(kept.rglob("*")) if not path.is_dir()], where)
        folder = to_folder(ports.to_uri, folder_name, manifest)
        ports.open_objects(folder).upload_folder(kept, folder)
        return manifest, folder


def to_folder(to_uri: str, name: str, manifest: Manifest) -> str:
    """Returns the folder that a version's files are copied to: never one that holds other files of it.

    >>> to_folder("file:///a", "my%20model/3", Manifest(()))
    'file:///a/models/my%20model/3-48702aa3ae1d'
    """
    digest = manifest.digest.removeprefix("sha256:")[:12]
    return f"{to_uri.rstrip('/')}/{FOLDER}/{name}-{digest}"


def _hash(path: Path, root: Path) -> ModelFile:
    if path.is_symlink():
        raise BadRecord(str(path.relative_to(root)), ["it is a link: a model may have only plain files"])
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
            size += len(chunk)
    return ModelFile(path=path.relative_to(root).as_posix(), size_bytes=size, sha256=hashed.hexdigest())


def finish_model(ports: Importing, name: str, model: SourceModel, chosen: Chosen, production: int | None) -> list[str]:
    """Takes over aliases, and the champion that a person named, if there is none here yet.

    Returns what was not taken over, in words. A second call changes nothing."""
    ports.imports.finish(name, model.origin, chosen.aliases)
    here = ports.models.read_model(name)
    if production is None or here.production == production:
        return []
    if here.production is not None:
        return [
            f"version {here.production} is in Production here by now. To replace it: switchyard promote '{name}' "
            f"{production} --expect {here.production}"
        ]
    wanted = Promotion(
        name=name,
        version=production,
        expected=None,
        by=ports.by,
        reason=f"said at the import from {ports.where}",
        request_key=f"import:{to_source_key(model.origin, production)}",
    )
    refused = catch(lambda: ports.models.promote(wanted))
    return [to_message(refused)] if isinstance(refused, SwitchyardError) else []


def list_imported(models: Models, imports: ModelImports) -> dict[tuple[str, str], list[str]]:
    """Returns the names here of the models that were imported, by their workspace and name there."""
    found: dict[tuple[str, str], list[str]] = {}
    for model in models.list_models():
        origin = imports.read_model_origin(model.name)
        if origin is not None:
            found.setdefault((origin.workspace, origin.name), []).append(model.name)
    return found


def verify_model(ports: Importing, name: str, model: SourceModel) -> ModelVerified:
    """Compares the model here with `model`, field by field, and reads every file again. Changes nothing.

    Raises: TryAgain: the files cannot be read now."""
    found = ModelVerified()
    kept, versions = ports.imports.list_version_origins(name), {v.version: v for v in ports.models.list_versions(name)}
    tags = ports.models.list_tags(name)
    if problems := _find_model_differences(ports, name, model.origin, tags.get(0, {})):
        found.differs["model"] = problems
    for origin in model.versions:
        version = versions.get(origin.number)
        if version is None or version.source_key != to_source_key(model.origin, origin.number):
            found.differs[str(origin.number)] = [NOT_HERE]
            continue
        problems = find_field_differences(origin, version, tags.get(origin.number, {}), kept.get(origin.number))
        problems += _verify_files(ports, version, found)
        if problems:
            found.differs[str(origin.number)] = problems
        else:
            found.versions += 1
    return found


def _find_model_differences(ports: Importing, name: str, origin: ModelOrigin, tags: dict[str, str]) -> list[str]:
    problems = []
    if ports.imports.read_model_origin(name) != origin:
        problems.append("what is kept of its origin differs from what is there now: import again")
    if tags != origin.tags:
        problems.append(f"tags: there {origin.tags!r}, here {tags!r}")
    given = max([*origin.deleted, *origin.aliases.values()], default=0)
    if origin.deleted and ports.models.read_model(name).last_number < max(origin.deleted):
        problems.append(f"numbers up to {given} were given there, and could be given again here")
    return problems


def _verify_files(ports: Importing, version: ModelVersion, found: ModelVerified) -> list[str]:
    if not version.digest:
        found.without_files.append(version.version)
        return []
    manifest = ports.models.read_files(version.name, version.version)
    if manifest.digest != version.digest:
        return [f"its list of files was changed: it has digest {manifest.digest}, and not {version.digest}"]
    where = f"version {version.version} of model {version.name}"
    try:
        there = read_files(ports.open_objects(version.source_uri), version.source_uri, where)
    except (BadRecord, NotFound, BadSetup) as err:
        return [str(err)]
    problems = find_differences(manifest, there)
    if not problems:
        found.files += len(manifest.files)
        found.size_bytes += manifest.size_bytes
    return problems
