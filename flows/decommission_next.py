"""Decommission, next: goes one state further.

switchyard/core/decommission/states.py says what each state asks and does.
"""

from prefect import flow

from flows.answers.decommission import DecommissionTakenResult, to_taken_result
from flows.decommission_parameters import DecommissionNextParameters
from flows.signatures import takes
from switchyard.core.decommission.outcomes import Wanted
from tasks.decommission import take_next_state
from tasks.show import name_flow_run, show_decommission
from tasks.starter import with_starter


@flow(name="decommission-next")
@takes(DecommissionNextParameters)
def decommission_next(wanted: DecommissionNextParameters) -> DecommissionTakenResult:
    """Reads the evidence, asks the gate, acts, and proves the effect. Fails if the gate refuses.

    Run again, it goes on where it was.
    """
    wanted = with_starter(wanted)
    name_flow_run(f"decommission next {wanted.name}")
    taken = take_next_state(
        wanted.name,
        Wanted(
            by=wanted.by,
            confirm=wanted.confirm,
            known_callers=wanted.known_callers,
            costs_seen=wanted.costs_seen,
            flow_account=wanted.by,
            dry_run=wanted.dry_run,
        ),
        wanted.mlflow_environment,
    )
    result = to_taken_result(taken)
    show_decommission("next", result.lines)
    return result
