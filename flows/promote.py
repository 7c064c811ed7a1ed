"""Promote: a version becomes champion, in the place of the one that is named."""

from prefect import flow, runtime

from flows.answers.champion import ChampionResult, to_result
from flows.parameters import PromoteParameters
from flows.signatures import takes
from flows.steps.champion import promote_version
from tasks.registry import ACTS
from tasks.show import name_flow_run
from tasks.starter import with_starter


@flow(name="promote")
@takes(PromoteParameters)
def promote(wanted: PromoteParameters) -> ChampionResult:
    """Makes a version the champion, after a check of its files, and archives the champion that is expected.

    All or nothing, in one transaction. A second call changes nothing.

    It must have passed a comparison with this champion; `force` goes past that, for a reason that the history shows for
    ever.
    """
    wanted = with_starter(wanted)
    name_flow_run(f"promote {wanted.name} {wanted.version}")
    key = wanted.request_key or str(runtime.flow_run.id)
    return to_result(promote_version(ACTS, wanted, key))
