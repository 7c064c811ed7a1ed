"""Artifacts, plan: lists the artifacts of MLflow's runs, and which of them can be copied. Changes nothing."""

from uuid import uuid4

from prefect import flow

from flows.answers.artifacts import PlanResult, to_plan_result, to_rows
from flows.artifacts_parameters import ArtifactsPlanParameters
from flows.signatures import takes
from flows.steps.artifact_batches import BATCH_RUNS, in_batches
from switchyard.core.artifacts.plan import to_batches
from tasks.artifacts import find_artifact_runs, forget_progress, plan_artifacts, settle_plan, to_how
from tasks.show import name_flow_run, show_artifacts


@flow(name="artifacts-plan")
@takes(ArtifactsPlanParameters)
def artifacts_plan(wanted: ArtifactsPlanParameters) -> PlanResult:
    """Lists every run's artifacts: objects, bytes, and what cannot be reached or copied, with the reason."""
    name_flow_run("artifacts plan")
    how = to_how(wanted.to_uri, wanted.artifacts_destination, wanted.artifacts_roots, wanted.artifacts_from)
    runs = find_artifact_runs(wanted.quick_test_id, wanted.all_runs, wanted.experiments, wanted.export_uri)
    key = uuid4().hex
    plans = in_batches(
        "artifacts plan",
        to_batches(runs, BATCH_RUNS),
        lambda batch: plan_artifacts(batch, how, key),
        lambda batch: settle_plan(batch, how, key),
    )
    forget_progress(key)
    result = to_plan_result(how.to_uri, plans)
    show_artifacts("plan", to_rows(result))
    return result
