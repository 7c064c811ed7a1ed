"""Artifacts, copy: what MLflow's runs have left as files is copied to a place of ours, where it outlives MLflow.

What is to be copied is decided in switchyard/core/artifacts/plan.py; what a copy consists of is in
switchyard/core/artifacts/manifest.py.
"""

from uuid import uuid4

from prefect import flow

from flows.answers.artifacts import ArtifactsFailed, CopyResult, to_rows
from flows.parameters import ArtifactsCopyParameters
from flows.signatures import takes
from flows.steps.artifact_batches import BATCH_RUNS, copy_in_batches
from switchyard.core.artifacts.plan import to_batches
from tasks.artifacts import find_artifact_runs, to_how
from tasks.show import name_flow_run, show_artifacts


@flow(name="artifacts-copy")
@takes(ArtifactsCopyParameters)
def artifacts_copy(wanted: ArtifactsCopyParameters) -> CopyResult:
    """Copies every run's artifacts; run again, it goes on where it was, and copies what is new.

    Fails after all others were copied, naming the runs of which something could not be.
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
