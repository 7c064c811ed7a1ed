"""Artifacts, copy: copies the files of MLflow's runs to a place of ours, where they outlive MLflow.

switchyard/core/artifacts/plan.py decides what to copy; switchyard/core/artifacts/manifest.py says what a copy consists
of.
"""

from uuid import uuid4

from prefect import flow

from flows.answers.artifacts import ArtifactsFailed, CopyResult, to_rows
from flows.artifacts_parameters import ArtifactsCopyParameters
from flows.signatures import takes
from flows.steps.artifact_batches import BATCH_RUNS, copy_in_batches
from switchyard.core.artifacts.plan import to_batches
from tasks.artifacts import find_artifact_runs, to_how
from tasks.show import name_flow_run, show_artifacts


@flow(name="artifacts-copy")
@takes(ArtifactsCopyParameters)
def artifacts_copy(wanted: ArtifactsCopyParameters) -> CopyResult:
    """Copies every run's artifacts. Run again, it goes on where it was, and copies what is new.

    It copies all others before it fails, and names the runs with an artifact that could not be copied.
    """
    name_flow_run("artifacts copy")
    how = to_how(
        wanted.to_uri,
        wanted.artifacts_destination,
        wanted.artifacts_roots,
        wanted.artifacts_from,
        concurrency=wanted.concurrency,
        in_flight_bytes=wanted.in_flight_bytes,
        again=wanted.again,
    )
    runs = find_artifact_runs(wanted.quick_test_id, wanted.all_runs, wanted.experiments, wanted.export_uri)
    done = copy_in_batches(to_batches(runs, BATCH_RUNS), how, key=uuid4().hex)
    result = CopyResult(to_uri=how.to_uri, runs=done)
    show_artifacts("copy", to_rows(result))
    if result.failed:
        raise ArtifactsFailed(result, "are not all copied", "Run the same command again to try these.")
    return result
