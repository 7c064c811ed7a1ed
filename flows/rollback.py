"""Rollback: the champion is taken back, and the one before it answers again."""

from prefect import flow, runtime

from flows.answers.champion import ChampionResult, to_result
from flows.parameters import RollbackParameters
from flows.signatures import takes
from switchyard.core.registry.names import read_expected
from switchyard.core.registry.promotion import choose_rollback
from switchyard.core.registry.rows import Rollback
from tasks.registry import announce_model, check_files, find_request, read_model, roll_back
from tasks.show import name_flow_run


@flow(name="rollback")
@takes(RollbackParameters)
def rollback(wanted: RollbackParameters) -> ChampionResult:
    """Checks the older version's files before it touches anything, then makes it champion in one transaction.

    The champion of the moment is taken back, or the one that `expect` names. A second call with the same request key
    changes nothing; one without is refused, for there is nothing more to go back to.
    """
    name_flow_run(f"rollback {wanted.name}")
    key = wanted.request_key or str(runtime.flow_run.id)
    outcome = find_request(wanted.name, key)
    if outcome is None:
        model = read_model(wanted.name)
        back = Rollback(
            name=wanted.name,
            expected=read_expected(wanted.expect) if wanted.expect else model.production,
            to=wanted.to or None,
            request_key=key,
            by=wanted.by,
            reason=wanted.reason,
        )
        if back.expected == model.production:  # else the registry says who is champion, and changes nothing
            check_files(wanted.name, choose_rollback(model, back))
        outcome = roll_back(back)
    announce_model(outcome)
    return to_result(outcome)
