"""Rollback: takes the champion back, so that the one before it answers again."""

from prefect import flow, runtime

from flows.answers.champion import ChampionResult, to_result
from flows.registry_parameters import RollbackParameters
from flows.signatures import takes
from flows.steps.champion import roll_back
from tasks.registry import ACTS
from tasks.show import name_flow_run
from tasks.starter import with_starter


@flow(name="rollback")
@takes(RollbackParameters)
def rollback(wanted: RollbackParameters) -> ChampionResult:
    """Checks the older version's files before it touches anything, then makes it champion in one transaction.

    It takes back the present champion, or the one that `expect` names. A second call with the same request key changes
    nothing; one without is refused, because there is nothing more to go back to.
    """
    wanted = with_starter(wanted)
    name_flow_run(f"rollback {wanted.name}")
    key = wanted.request_key or str(runtime.flow_run.id)
    return to_result(roll_back(ACTS, wanted, key))
