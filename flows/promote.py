"""Promote: a version becomes champion, in the place of the one that is named."""

from prefect import flow, runtime

from flows.answers.champion import ChampionResult, to_result
from flows.parameters import PromoteParameters
from flows.signatures import takes
from switchyard.core.registry.names import read_expected
from switchyard.core.registry.rows import Promotion
from tasks.registry import announce_model, check_files, find_request, promote_version
from tasks.show import name_flow_run


@flow(name="promote")
@takes(PromoteParameters)
def promote(wanted: PromoteParameters) -> ChampionResult:
    """Checks the version's files, archives the champion that is expected, and makes the version champion: all or
    nothing, in one transaction. A second call changes nothing.

    It must have passed a comparison with this champion; `force` goes past that, for a reason that the history shows for
    ever.
    """
    name_flow_run(f"promote {wanted.name} {wanted.version}")
    key = wanted.request_key or str(runtime.flow_run.id)
    if find_request(wanted.name, key) is None:
        check_files(wanted.name, wanted.version)
    outcome = promote_version(
        Promotion(
            name=wanted.name,
            version=wanted.version,
            expected=read_expected(wanted.expect),
            request_key=key,
            by=wanted.by,
            reason=wanted.reason,
            force=wanted.force,
        )
    )
    announce_model(outcome)
    return to_result(outcome)
