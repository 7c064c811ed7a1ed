"""Artifacts, verify: reads the copies of MLflow's artifacts again, and compares their hashes. Changes nothing."""

from prefect import flow

from flows.answers.artifacts import ArtifactsFailed, VerifyArtifactsResult, to_rows
from flows.artifacts_parameters import ArtifactsVerifyParameters
from flows.signatures import takes
from flows.steps.artifact_batches import BATCH_RUNS, in_batches
from switchyard.core.artifacts.plan import to_batches
from tasks.artifacts import find_artifact_runs, find_copied_runs, settle_verify, to_how, verify_artifacts
from tasks.show import name_flow_run, show_artifacts


@flow(name="artifacts-verify")
@takes(ArtifactsVerifyParameters)
def artifacts_verify(wanted: ArtifactsVerifyParameters) -> VerifyArtifactsResult:
    """Reads every copy again.

    It reads all before it fails, and names the runs with artifacts that are not all kept.
    """
    name_flow_run("artifacts verify")
    how = to_how(
        wanted.to_uri,
        wanted.artifacts_destination,
        wanted.artifacts_roots,
        wanted.artifacts_from,
        concurrency=wanted.concurrency,
    )
    if wanted.against_source:
        runs = find_artifact_runs(wanted.quick_test_id, wanted.all_runs, (), wanted.export_uri)
    else:
        runs = find_copied_runs(wanted.quick_test_id, wanted.all_runs)
    found = in_batches(
        "artifacts verify",
        to_batches(runs, BATCH_RUNS),
        lambda batch: verify_artifacts(batch, how, wanted.against_source),
        lambda batch: settle_verify(batch, how, wanted.against_source),
    )
    result = VerifyArtifactsResult(to_uri=how.to_uri, runs=found)
    show_artifacts("verify", to_rows(result))
    if result.failed:
        raise ArtifactsFailed(
            result, "are not all kept", "To mend a copy while its source is there: switchyard artifacts copy --again"
        )
    return result
