"""Promote: makes a version the champion, in the place of the one that is named."""

from prefect import flow, runtime

from flows.answers.champion import ChampionResult, to_result
from flows.registry_parameters import PromoteParameters
from flows.signatures import takes
from flows.steps.champion import promote_version
from tasks.registry import ACTS
from tasks.show import name_flow_run
from tasks.starter import with_starter


@flow(name="promote")
@takes(PromoteParameters)
def promote(wanted: PromoteParameters) -> ChampionResult:
    """Makes a version the champion, after a check of its files, and archives the champion that is expected.

    It happens in one transaction, whole or not at all. A second call changes nothing.

    The version must have passed a comparison with this champion. `force` promotes it without that, with a reason that
    the history shows for ever.
    """
    wanted = with_starter(wanted)
    name_flow_run(f"promote {wanted.name} {wanted.version}")
    key = wanted.request_key or str(runtime.flow_run.id)
    return to_result(promote_version(ACTS, wanted, key))
