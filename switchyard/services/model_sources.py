"""Finds the version of the registry that a setting names, with its list of files.

A model that was never registered is registered when it is first seen. From then on only those files load.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from switchyard.core.comparison.fields import Field
from switchyard.core.comparison.filter import And, Compare
from switchyard.core.comparison.found import RunQuery
from switchyard.core.errors import BadRecord, BadRequest, NotFound, StaleWrite, TryAgain
from switchyard.core.ports import Jobs, Models, Objects, Runs
from switchyard.core.predictions.filenames import leave_out_others, say_several
from switchyard.core.predictions.sources import Kind, Source, find_unsafe, read_model_uri
from switchyard.core.registry.flavors import choose_flavor
from switchyard.core.registry.manifest import Manifest, ModelFile, to_manifest
from switchyard.core.registry.names import CHALLENGER, CHAMPION
from switchyard.core.registry.registration import to_run_source
from switchyard.core.registry.rows import Model, ModelVersion, NewVersion
from switchyard.core.runs.rows import RunStatus
from switchyard.services import registering

FIRST_SEEN: Final = "first seen by `switchyard predict`"
SAME_NAME: Final = 1_000
"""How many of the runs with one name, the newest by id, are searched for the one that was completed last."""
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def no_mlflow(source: Source) -> ModelVersion:
    """Stands in for a reader of MLflow's registry, if none is configured.

    Raises: NotFound: always."""
    if source.kind is Kind.RUN_NAME:
        raise NotFound("MLflow is not asked, because MLFLOW_TRACKING_URI is not set")
    raise NotFound(
        f"{source} is not in the registry of the results database, and no MLflow registry can be read here. Register "
        "it: switchyard register --help"
    )


@dataclass(frozen=True)
class Ports:
    """Holds what finding a model reaches."""

    runs: Runs
    jobs: Jobs
    models: Models
    open_objects: Callable[[str], Objects]
    model_name: str  # under which a run or a folder is registered when it is first seen
    cache: Path
    import_from_mlflow: Callable[[Source], ModelVersion] = field(default=no_mlflow)
    """Returns the version in our registry of an MLflow model or run, copied and recorded when it is first seen.
    Raises: NotFound: MLflow does not have it; TryAgain: it cannot be reached; BadSetup: we may not read it."""
    pickle_digests: frozenset[str] = frozenset()  # SHA-256 of pickles that the operator lets be served
    filename: str = ""  # of several model files in model/, the one to read


@dataclass(frozen=True)
class Found:
    """What a source names now."""

    source: Source
    version: ModelVersion
    manifest: Manifest
    model: Model | None = None  # its row, where the source follows it

    @property
    def identity(self) -> tuple[str, int, str]:
        """Returns what is equal for the same files of the same version."""
        return self.version.name, self.version.version, self.version.digest


def find_model(ports: Ports, source: Source) -> Found:
    """Returns the version that `source` names now. A second call reads again, and sees a promotion since.

    Raises:
        NotFound: no such model, stage, version or run. TryAgain: the registry that knows it cannot be reached.
        BadRequest: the setting is wrong, or the version is retired. BadSetup: it may not be read.
        BadRecord, StaleWrite: the files are not those that were registered.
    """
    if source.kind is Kind.REGISTRY:
        return _find_in_registry(ports, source)
    if source.kind is Kind.RUN_ID:
        return to_found(ports.models, source, _find_run(ports, source))
    if source.kind is Kind.RUN_NAME:
        return to_found(ports.models, source, _find_named_run(ports, source))
    return _find_folder(ports, source)


def find_version(ports: Ports, source: Source, name: str, version: int) -> Found:
    """Returns that version of that model, whatever `source` names. Raises: as `find_model`."""
    return to_found(ports.models, source, ports.models.find_version(name, str(version)))


def may_change(source: Source) -> bool:
    """Returns true if `source` may name another version later. A number, a run and a folder may not.

    The newest run of a name is chosen once, at the start: no one has approved the next one."""
    return source.kind is Kind.REGISTRY and read_model_uri(source.value).asked.version is None


def read_row(ports: Ports, source: Source) -> Model | None:
    """Returns the one row that says what `source` names, in one read by its key; None: no single row does.

    The row's revision grows with every change."""
    return ports.models.read_model(read_model_uri(source.value).name) if _follows_row(source) else None


def _follows_row(source: Source) -> bool:
    """Returns true if one row with a revision says it. A free alias has its own row, without a revision."""
    if source.kind is not Kind.REGISTRY:
        return False
    asked = read_model_uri(source.value).asked
    return asked.stage is not None or asked.alias in (CHAMPION, CHALLENGER)


def to_found(models: Models, source: Source, version: ModelVersion, model: Model | None = None) -> Found:
    """Returns `version` with its files. Raises: BadRequest: it is retired; BadRecord: its list of files was changed."""
    if version.tombstoned_at is not None:
        raise BadRequest(
            f"version {version.version} of model {version.name}, which {source} names, is retired for ever "
            f"(since {version.tombstoned_at:%Y-%m-%d}). Name another version"
        )
    manifest = models.read_files(version.name, version.version)
    if manifest.digest != version.digest:
        raise BadRecord(
            f"version {version.version} of model {version.name}",
            [f"its list of files was changed: it has digest {manifest.digest}; registered was {version.digest}"],
        )
    return Found(source, version, manifest, model)


def _find_in_registry(ports: Ports, source: Source) -> Found:
    """Returns our version where the name is known here; else MLflow's."""
    uri = read_model_uri(source.value)
    try:
        model = ports.models.read_model(uri.name)
    except NotFound:
        return to_found(ports.models, source, ports.import_from_mlflow(source))
    version = ports.models.find_version(uri.name, uri.reference)
    return to_found(ports.models, source, version, model if _follows_row(source) else None)


def _find_run(ports: Ports, source: Source) -> ModelVersion:
    """Returns our version by its number, or by an MLflow run's id that a row names; else MLflow's."""
    if source.value.isdecimal() and len(source.value) < 10:
        return _register_run(ports, int(source.value))
    known = ports.runs.find_mlflow_runs([source.value])
    if source.value in known and ports.runs.read_run(known[source.value]).gcs_artifacts_path:
        return _register_run(ports, known[source.value])
    return ports.import_from_mlflow(source)


def _register_run(ports: Ports, quick_test_id: int) -> ModelVersion:
    """Returns the run's version, in the named model before others; else a new one of the named model."""
    run, job = ports.runs.read_run(quick_test_id), ports.jobs.read_job(quick_test_id)
    source_key = to_run_source(run.id, job.key if job else "")
    names = [ports.model_name, *(model.name for model in ports.models.list_models())]
    for name in names:
        version = ports.models.find_source(name, source_key)
        if version is not None:
            return version
    of_run = registering.Ports(ports.runs, ports.jobs, ports.models, ports.open_objects)
    made = registering.register_run(of_run, quick_test_id, ports.model_name, description=FIRST_SEEN)
    return made.version


def _find_named_run(ports: Ports, source: Source) -> ModelVersion:
    """Finds our completed run of that name, else MLflow's. A table of runs that is not ours may have no names."""
    try:
        newest = _find_newest(ports, source)
    except (NotFound, BadRequest) as err:
        try:
            return ports.import_from_mlflow(source)
        except NotFound as other:
            raise NotFound(f"{err}; {other}") from other
    return _register_run(ports, newest)


def _find_newest(ports: Ports, source: Source) -> int:
    """Returns the run of that name that was completed last; of two at one time the one with the higher id."""
    wanted = And((_equals("name", source.value), _equals("status", str(RunStatus.COMPLETED))))
    runs = ports.runs.find_runs(RunQuery(limit=SAME_NAME, filter=wanted)).runs
    if not runs:
        raise NotFound(f"no completed run is named {source.value!r}")
    return max(runs, key=lambda run: (run.completed_at or _LONG_AGO, run.id)).id


def _equals(column: str, text: str) -> Compare:
    return Compare(Field("", column), "=", (text,))


def _find_folder(ports: Ports, source: Source) -> Found:
    """Returns the version that a folder on this machine or in a bucket became when it was first seen.

    Without the database, this machine's cache may still have a note of it."""
    uri = to_folder_uri(source.value)
    key = f"folder:{uri}"
    note = ports.cache / f"folder-{hashlib.sha256(key.encode()).hexdigest()}.json"
    try:
        version = ports.models.find_source(ports.model_name, key) or _register_folder(ports, uri, key)
        found = to_found(ports.models, source, version)
    except TryAgain as err:
        noted = _read_note(note)
        if noted is None:
            raise TryAgain(
                f"{source} was never seen here, and the database that would record it cannot be reached: {err}"
            ) from err
        return Found(source, noted.version, to_manifest(noted.files, str(source)))
    _write_note(note, found)
    return found


def to_folder_uri(value: str) -> str:
    """Returns the URI of a folder that is named by a path or by a URI. Raises: BadRequest: it is neither."""
    if value.startswith(("file://", "gs://")):
        return value.rstrip("/")
    if "://" in value:
        raise BadRequest(f"a folder's URI must start with file:// or gs://; got {value!r}")
    path = Path(value).expanduser().absolute()
    # A URI with `..` is refused wherever it is listed. A folder that was first seen by the name of a link is known by
    # that name. So only a path with `..` is resolved.
    return (path.resolve() if ".." in path.parts else path).as_uri()


def _register_folder(ports: Ports, uri: str, key: str) -> ModelVersion:
    manifest = registering.read_manifest(ports.open_objects(uri), uri, f"the model in {uri}")
    if unsafe := find_unsafe(manifest.files, ports.pickle_digests):
        raise BadRecord(f"the model in {uri}", unsafe)
    # Before it is recorded: from then on its files must stay as they are.
    if several := say_several(leave_out_others([file.path for file in manifest.files], ports.filename)):
        raise BadRequest(f"the model in {uri} cannot be served: {several}")
    new = NewVersion(
        name=ports.model_name,
        source_key=key,
        source_uri=uri,
        manifest=manifest,
        description=FIRST_SEEN,
        flavor=choose_flavor(file.path for file in manifest.files),
    )
    return ports.models.register(new).version


class _Note(msgspec.Struct, frozen=True):
    version: ModelVersion
    files: list[ModelFile]


def _read_note(path: Path) -> _Note | None:
    try:
        noted = msgspec.json.decode(path.read_bytes(), type=_Note)
    except (OSError, ValueError):
        return None
    if to_manifest(noted.files, str(path)).digest != noted.version.digest:
        raise StaleWrite(f"{path} was changed: what it says of a model's files has another digest than it names")
    return noted


def _write_note(path: Path, found: Found) -> None:
    """Writes it whole or not at all. It is only a help for later, so a disk that refuses it does not stop serving."""
    data = msgspec.json.encode(_Note(found.version, list(found.manifest.files)))
    part = path.with_suffix(f".{found.version.version}.part")
    try:
        if path.exists() and path.read_bytes() == data:
            return
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
