"""Registers files as versions, and looks at the files of a version again.

It makes a version's manifest and compares it with the files. The rows are the registry's; nothing here decides which
version answers.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final
from urllib.parse import unquote

from switchyard.core.errors import BadRecord, BadRequest, NotFound, StaleWrite, TryAgain
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MAX_FILE_BYTES
from switchyard.core.ports import Jobs, Models, Objects, Runs, Stat
from switchyard.core.registry.flavors import choose_flavor
from switchyard.core.registry.manifest import (
    CARDS,
    Manifest,
    ModelFile,
    find_differences,
    find_path_problems,
    to_manifest,
)
from switchyard.core.registry.registration import to_run_source, to_trained_parameters, to_trained_until
from switchyard.core.registry.rows import Lineage, NewVersion, Registered
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.own_words import read_ended_params
from switchyard.core.runs.rows import Job, QuickTest, RunStatus

PARTS: Final = ("model", "embeddings", "score")
"""The folders of a run's folder that are its model, beside its CARDS; the rest (metrics, checkpoints) is how it came
to be."""
CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Read at a time: a file of a large model is never whole in memory."""

OpenObjects = Callable[[str], Objects]


@dataclass(frozen=True)
class Ports:
    """What registering reaches."""

    runs: Runs
    jobs: Jobs
    models: Models
    open_objects: OpenObjects


def register_run(ports: Ports, quick_test_id: int, name: str, *, by: str = "", description: str = "") -> Registered:
    """Makes the run's model the next version of the model `name`.

    A second call finds the first one's version, and reads no file.

    Raises:
        NotFound: no such run, or it left no model.
        BadRequest: the run is not completed, or `name` is not a name of a model.
        BadRecord: its files are not files that a loader should see; all that is wrong.
        StaleWrite: its files changed while they were read.
        TryAgain: its job has ended, and what it left is being published.
    """
    run, job = ports.runs.read_run(quick_test_id), ports.jobs.read_job(quick_test_id)
    source_key = to_run_source(run.id, job.key if job else "")
    found = ports.models.find_source(name, source_key)
    if found is not None:
        return Registered(version=found, is_new=False)
    check_completed(run, job)
    where = f"the model of quick test {run.id} ({run.gcs_artifacts_path})"
    manifest = read_manifest(ports.open_objects(run.gcs_artifacts_path), run.gcs_artifacts_path, where)
    return ports.models.register(
        NewVersion(
            name=name,
            source_key=source_key,
            source_uri=run.gcs_artifacts_path,
            manifest=manifest,
            lineage=to_lineage(run, job, read_params(ports.open_objects, run.gcs_artifacts_path)),
            by=by,
            description=description,
            flavor=choose_flavor(file.path for file in manifest.files),
        )
    )


def check_completed(run: QuickTest, job: Job | None) -> None:
    """Raises: TryAgain, BadRequest, NotFound: as `register_run`."""
    if run.status is not RunStatus.COMPLETED:
        if job is not None and job.state is JobState.SUCCEEDED and not run.status.ended:
            raise TryAgain(f"quick test {run.id} is {run.status}: its job has succeeded, and is not published yet")
        raise BadRequest(
            f"quick test {run.id} is {run.status}, and only a completed run's model is registered. To see it: "
            f"switchyard ingest {run.id}"
        )
    if not run.gcs_artifacts_path:
        raise NotFound(f"quick test {run.id} has no folder of files, so there is no model to register")


def read_params(open_objects: OpenObjects, folder_uri: str) -> dict[str, Any]:
    """Reads what the training said of itself, in the file of its metrics or, if it has none, of its end.

    It is empty if neither can be read: the model can still be registered. A second call reads again.
    """
    objects, folder = open_objects(folder_uri), folder_uri.rstrip("/")
    for name in ("training_metrics.json", "ended.json"):
        with suppress(NotFound, BadRecord):
            uri = f"{folder}/{name}"
            data, _ = objects.read(uri, max_bytes=MAX_FILE_BYTES)
            if name == "ended.json":
                return read_ended_params(data)
            return read_record(data, where=uri).params
    return {}


def to_lineage(run: QuickTest, job: Job | None, params: Mapping[str, Any]) -> Lineage:
    """Returns where the run's model comes from. On an application's table only the job knows the parameters.

    Args:
        params: what the training said of itself.
    """
    parameters = to_trained_parameters(run.parameters or (job.parameters if job else {}))
    return Lineage(
        quick_test_id=run.id,
        run_key=job.key if job else "",
        data_uri=str(parameters.get("data_uri") or ""),
        parameters=parameters,
        image=job.image if job else "",
        code_version=metadata.version("switchyard"),
        trained_until=to_trained_until(params),
    )


def read_manifest(objects: Objects, folder_uri: str, where: str) -> Manifest:
    """Reads the manifest of the model in a run's folder, at one moment.

    If a file changes, comes or goes meanwhile, there is none. A second call reads again.

    Raises: NotFound, BadRecord, StaleWrite: as `register_run`.
    """
    files = read_files(objects, folder_uri, where)
    if not files:
        raise NotFound(f"{where} was expected in {', '.join(PARTS)} there; there is no file in any of them")
    return to_manifest(files.values(), where)


def read_files(objects: Objects, folder_uri: str, where: str) -> dict[str, ModelFile]:
    """Reads the files of the model in a run's folder as they are now, by path. Raises: BadRecord, StaleWrite."""
    before = list_files(objects, folder_uri, where)
    found = [_read_file(objects, uri, path, stat) for path, (uri, stat) in before.items()]
    if list_files(objects, folder_uri, where) != before:
        raise StaleWrite(
            f"{where}: files changed while they were read; wait until nothing writes there, then try again"
        )
    return {file.path: file for file in found}


def list_files(objects: Objects, folder_uri: str, where: str) -> dict[str, tuple[str, Stat]]:
    """Lists the files of the model in a run's folder by path, each with its URI and what it is; reads none.

    Raises: BadRecord: there is a link or a device, or a path that no model may have; all of them.
    """
    root = f"{folder_uri.rstrip('/')}/"
    odd = [path for path in (_to_path(uri, root) for uri in objects.list_odd(root)) if _is_part(path)]
    if odd:
        raise BadRecord(
            where, [f"{path!r} is a link or no regular file: a model has plain files alone" for path in odd]
        )
    found = {_to_path(uri, root): (uri, stat) for part in PARTS for uri, stat in objects.list_stats(f"{root}{part}/")}
    if found:  # a card alone is not a model
        found |= dict(_find_cards(objects, root))
    if found and (problems := find_path_problems(found)):
        raise BadRecord(where, problems)
    return found


def check_files(models: Models, open_objects: OpenObjects, name: str, version: int) -> Manifest:
    """Checks that the version's files are still the same to the last byte, and returns its manifest.

    Nothing is changed; a second call reads again.

    Raises:
        NotFound: no such version.
        BadRecord: a file is missing, was changed, or is one too many; all of them.
    """
    known, manifest = models.find_version(name, str(version)), models.read_files(name, version)
    where = f"version {version} of model {name} ({known.source_uri})"
    if manifest.digest != known.digest:
        raise BadRecord(where, [f"its list of files has digest {manifest.digest}; registered was {known.digest}"])
    problems = find_differences(manifest, read_files(open_objects(known.source_uri), known.source_uri, where))
    if problems:
        raise BadRecord(where, [*problems, "nothing was changed; put the files back from a backup, or use another one"])
    return manifest


def _read_file(objects: Objects, uri: str, path: str, stat: Stat) -> ModelFile:
    """Reads it by ranges. The caller finds out whether all were of the generation of `stat`."""
    hashed, size = hashlib.sha256(), 0
    while chunk := objects.read_range(uri, start=size, length=CHUNK_BYTES):
        hashed.update(chunk)
        size += len(chunk)
        if size >= stat.size_bytes:
            break
    return ModelFile(path=path, size_bytes=size, sha256=hashed.hexdigest())


def _to_path(uri: str, root: str) -> str:
    """Returns the path below `root`; of a file: URI as it is on the disk."""
    path = uri.removeprefix(root)
    return unquote(path, errors="surrogateescape") if uri.startswith("file:") else path


def _find_cards(objects: Objects, root: str) -> Iterator[tuple[str, tuple[str, Stat]]]:
    for name in CARDS:
        yield from ((name, (uri, stat)) for uri, stat in objects.list_stats(f"{root}{name}") if uri == f"{root}{name}")


def _is_part(path: str) -> bool:
    return path.partition("/")[0] in PARTS or path in CARDS
