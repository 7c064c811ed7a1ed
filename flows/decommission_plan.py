"""Decommission, plan: finds, saves and shows all that an MLflow deployment on Google Cloud consists of."""

from datetime import datetime
from typing import Final

from prefect import flow

from flows.answers.decommission import DecommissionPlanResult, to_plan_result
from flows.decommission_parameters import DecommissionPlanParameters
from flows.signatures import takes
from switchyard.core.decommission.resources import Kind, Sought
from switchyard.core.decommission.rules import Rules
from switchyard.core.errors import BadRequest
from tasks.decommission import plan_decommission, to_default_places, to_default_project
from tasks.show import name_flow_run, show_decommission
from tasks.starter import with_starter

_KINDS: Final = {kind.value.replace(" ", "-"): kind for kind in Kind}


@flow(name="decommission-plan")
@takes(DecommissionPlanParameters)
def decommission_plan(wanted: DecommissionPlanParameters) -> DecommissionPlanResult:
    """Finds, describes and saves everything; stops and deletes nothing.

    Run again, it begins again if anything has changed, until something was stopped.
    """
    wanted = with_starter(wanted)
    name_flow_run(f"decommission plan {wanted.name}")
    planned = plan_decommission(wanted.name, to_sought(wanted), to_rules(wanted), wanted.by, wanted.dry_run)
    result = to_plan_result(planned)
    show_decommission("plan", result.lines)
    return result


def to_sought(wanted: DecommissionPlanParameters) -> Sought:
    """Returns what the resources are found by.

    Raises: BadRequest: there is nothing to find them by, or no project or region; or there is no such control.
    """
    project, regions = to_default_project(wanted.regions)
    if not project or not regions:
        raise BadRequest("name the project and its regions: GCP_PROJECT_ID, and --regions or GCP_REGION")
    names = {
        Kind.RUN_SERVICE: wanted.services,
        Kind.SQL_INSTANCE: wanted.instances,
        Kind.BUILD_TRIGGER: wanted.triggers,
        Kind.BUCKET: wanted.buckets,
        Kind.SERVICE_ACCOUNT: wanted.accounts,
        Kind.SECRET: wanted.secrets,
        Kind.VARIABLE: wanted.variables,
    }
    if not any(names.values()) and not wanted.labels:
        raise BadRequest("name what the deployment consists of: --services, --instances, --buckets, ...; or --labels")
    return Sought(
        project=project,
        regions=regions,
        names={kind: found for kind, found in names.items() if found},
        labels=_to_pairs(wanted.labels, "labels"),
        references=wanted.references,
        controls={_to_kind(kind): name for kind, name in _to_pairs(wanted.controls, "controls").items()},
    )


def to_rules(wanted: DecommissionPlanParameters) -> Rules:
    """Returns what the gates ask, as it is stored."""
    export_uri, folder_uri = to_default_places(wanted.export_uri, wanted.folder_uri)
    return Rules(
        switched_at=datetime.fromisoformat(wanted.switched_at) if wanted.switched_at else None,
        max_age_hours=wanted.max_age_hours,
        last_runs=wanted.last_runs,
        quiet_days=wanted.quiet_days,
        quiet_again_days=wanted.quiet_again_days,
        cost_days=wanted.cost_days,
        drill_runs=wanted.drill_runs,
        approvals=wanted.approvals,
        known_callers=wanted.known_callers,
        give_up=wanted.give_up,
        export_uri=export_uri,
        folder_uri=folder_uri,
        private_uri=wanted.private_uri.rstrip("/"),
    )


def _to_pairs(given: tuple[str, ...], of: str) -> dict[str, str]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise BadRequest(f"--{of} takes key=value; got {text!r}")
        found[key] = value
    return found


def _to_kind(text: str) -> Kind:
    if text not in _KINDS:
        raise BadRequest(f"--controls takes kind=name; a kind is one of {', '.join(_KINDS)}; got {text!r}")
    return _KINDS[text]
