"""The outside effects of `artifacts plan`, `copy` and `verify`.

A task is one query, or one batch of runs; never one object.
"""

from collections.abc import Sequence

from switchyard.clients.connect import connect
from switchyard.core.artifacts.copies import RunCopied, RunVerified
from switchyard.core.artifacts.places import to_moved
from switchyard.core.artifacts.plan import ArtifactRun, How, RunPlan
from switchyard.services import artifacts
from switchyard.services.artifact_copying import Progress
from tasks.policy import effect

_progress: dict[str, Progress] = {}


@effect
def find_artifact_runs(
    quick_test_id: int, all_runs: bool, experiments: Sequence[str], export_uri: str
) -> list[ArtifactRun]:
    """Finds the runs that are meant, with the artifacts that MLflow lists for them."""
    return artifacts.find_runs(
        connect(), quick_test_id=quick_test_id, all_runs=all_runs, experiments=experiments, export_uri=export_uri
    )


@effect
def find_copied_runs(quick_test_id: int, all_runs: bool) -> list[ArtifactRun]:
    """Finds the runs that are meant, with their copies; MLflow is not asked."""
    return artifacts.find_copied_runs(connect(), quick_test_id=quick_test_id, all_runs=all_runs)


@effect
def plan_artifacts(runs: Sequence[ArtifactRun], how: How, key: str) -> list[RunPlan]:
    """Says what artifacts these runs have."""
    return artifacts.plan_runs(connect(), runs, how, progress=to_progress(key))


@effect
def settle_plan(runs: Sequence[ArtifactRun], how: How, key: str) -> list[RunPlan]:
    """Says what artifacts these runs have, and which places cannot be reached."""
    return artifacts.plan_runs(connect(), runs, how, gives_up=True, progress=to_progress(key))


@effect
def copy_artifacts(runs: Sequence[ArtifactRun], how: How, key: str) -> list[RunCopied]:
    """Copies these runs' artifacts. A retry copies what the try before did not."""
    return artifacts.copy_runs(connect(), runs, how, progress=to_progress(key))


@effect
def settle_artifacts(runs: Sequence[ArtifactRun], how: How, key: str) -> list[RunCopied]:
    """Copies what can be copied, and writes in the ledger why the rest cannot. A second call writes the same."""
    return artifacts.copy_runs(connect(), runs, how, gives_up=True, progress=to_progress(key))


@effect
def verify_artifacts(runs: Sequence[ArtifactRun], how: How, against_source: bool) -> list[RunVerified]:
    """Reads these runs' copies again."""
    return artifacts.verify_runs(connect(), runs, how, against_source=against_source)


@effect
def settle_verify(runs: Sequence[ArtifactRun], how: How, against_source: bool) -> list[RunVerified]:
    """Reads these runs' copies again, and says which could not be read."""
    return artifacts.verify_runs(connect(), runs, how, against_source=against_source, gives_up=True)


def to_how(
    to_uri: str,
    destination: str,
    roots: Sequence[str] = (),
    moved: Sequence[str] = (),
    *,
    concurrency: int = 8,
    in_flight_bytes: int = 1 << 30,
    again: bool = False,
) -> How:
    """Returns how to copy artifacts, with what the settings say of places and servers.

    They say where copies are kept, what of this machine is MLflow's, and whether a server is named. It is not a task:
    nothing is asked.
    """
    outside = connect()
    to_uri = to_uri.rstrip("/") or f"{outside.settings.artifacts_uri}/mlflow-artifacts"
    moves = to_moved(moved)
    return How(
        to_uri=to_uri,
        destination=destination,
        moved=moves,
        allowed=outside.to_allowed([*roots, *(one.new for one in moves)], destination, copies=to_uri),
        server=outside.settings.mlflow_server_uri,
        concurrency=concurrency,
        in_flight_bytes=in_flight_bytes,
        again=again,
    )


def to_progress(key: str) -> Progress:
    """Returns what this process's copies of that key share.

    It is not a task: only a progress bar depends on it, and how often a folder is listed.
    """
    return _progress.setdefault(key, Progress())


def forget_progress(key: str) -> None:
    """Forgets the progress of a flow run's copies once they have ended."""
    _progress.pop(key, None)
