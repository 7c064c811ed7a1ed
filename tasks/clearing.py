"""The outside effects of `clean`: one look at everything, and the deletion of what a plan says."""

from datetime import UTC, datetime
from pathlib import Path

from switchyard.clients.connect import connect
from switchyard.core.decommission.clearing import Cleared, Plan, Policy
from switchyard.services import clearing
from tasks.policy import effect


@effect
def plan_clearing(policy: Policy) -> Plan:
    """Lists everything that is there, and what will become of it."""
    return clearing.plan_clearing(_to_site(), policy, datetime.now(UTC))


@effect
def find_begun_clearing(typed: str) -> Plan | None:
    """Finds the plan that was begun and not finished, by what a person typed of its digest."""
    return clearing.find_begun(_to_site(), typed)


@effect
def carry_out_clearing(plan: Plan) -> list[Cleared]:
    """Deletes what the plan says, if it is still stale. A retry deletes the rest."""
    return clearing.carry_out(_to_site(), plan, datetime.now(UTC))


def _to_site() -> clearing.Site:
    outside = connect()
    return clearing.Site(
        open_objects=outside.objects,
        runs=outside.runs,
        jobs=outside.jobs,
        ledger=outside.ledger,
        models=outside.models,
        catalogue=outside.catalogue,
        copies=outside.artifact_copies,
        launcher=outside.launcher,
        artifacts_uri=outside.settings.artifacts_uri,
        state_dir=Path(outside.settings.state_dir),
        model_cache=Path(outside.settings.model_cache_dir),
    )
