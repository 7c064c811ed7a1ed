"""Decommission, status: shows how far it is, and what comes next."""

from prefect import flow

from flows.answers.decommission import DecommissionStatusResult, to_status_result
from flows.decommission_parameters import DecommissionStatusParameters
from flows.signatures import takes
from switchyard.core.decommission.rules import to_approvals_folder
from tasks.decommission import now, read_decommission
from tasks.show import name_flow_run, show_decommission


@flow(name="decommission-status")
@takes(DecommissionStatusParameters)
def decommission_status(wanted: DecommissionStatusParameters) -> DecommissionStatusResult:
    """Reads only the stored steps."""
    name_flow_run(f"decommission status {wanted.name}")
    status = read_decommission(wanted.name)
    result = to_status_result(status, to_approvals_folder(status.walk.rules), now())
    show_decommission("status", result.lines)
    return result
