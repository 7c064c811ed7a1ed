"""Decommission, undo: brings all back, in reverse order."""

from prefect import flow

from flows.answers.decommission import DecommissionTakenResult, to_taken_result
from flows.decommission_parameters import DecommissionUndoParameters
from flows.signatures import takes
from tasks.decommission import undo_decommission
from tasks.show import name_flow_run, show_decommission
from tasks.starter import with_starter


@flow(name="decommission-undo")
@takes(DecommissionUndoParameters)
def decommission_undo(wanted: DecommissionUndoParameters) -> DecommissionTakenResult:
    """Starts what was stopped and brings back what was deleted.

    It tries everything before it fails, and names what is lost.
    """
    wanted = with_starter(wanted)
    name_flow_run(f"decommission undo {wanted.name}")
    result = to_taken_result(undo_decommission(wanted.name, wanted.by, wanted.dry_run))
    show_decommission("undo", result.lines)
    return result
