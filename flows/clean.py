"""Clean: lists what is stale below ARTIFACTS_URI and STATE_DIR and deletes it if a person says so.

switchyard/core/decommission/clearing.py decides what is stale.
"""

from prefect import flow

from flows.answers.clean import CleanResult, to_clean_result, to_rows
from flows.leaving_parameters import CleanParameters
from flows.signatures import takes
from switchyard.core.decommission.clearing import Policy, check_asked
from tasks.clearing import carry_out_clearing, find_begun_clearing, plan_clearing
from tasks.show import name_flow_run, show_clean


@flow(name="clean")
@takes(CleanParameters)
def clean(wanted: CleanParameters) -> CleanResult:
    """Makes the plan, and carries it out if its digest was typed. A plan that was begun before goes on as it was."""
    name_flow_run("clean")
    plan = find_begun_clearing(wanted.apply) if wanted.apply else None
    if plan is None:
        plan = plan_clearing(Policy(older_than_days=wanted.older_than_days, models=wanted.models, copies=wanted.copies))
    is_asked = check_asked(plan, apply=wanted.apply, yes=wanted.yes)
    result = to_clean_result(plan, carry_out_clearing(plan) if is_asked else None)
    show_clean(to_rows(result))
    return result
