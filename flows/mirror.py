"""Mirror: makes MLflow's registry show what ours has."""

from prefect import flow

from flows.registry_parameters import MirrorParameters
from flows.signatures import takes
from switchyard.core.errors import BadSetup, SwitchyardError
from switchyard.core.registry.mirroring import MirrorResult
from tasks.mirroring import mirror_models
from tasks.show import name_flow_run


class MirrorFailed(SwitchyardError):
    """Some models' mirrors do not show what ours has; `result` says which, and what was done for the others."""

    def __init__(self, result: MirrorResult) -> None:
        self.result = result
        said = [f"model {name}: {error}" for name, error in result.failed.items()]
        super().__init__("; ".join([*said, *([result.away] if result.away else [])]))


@flow(name="mirror")
@takes(MirrorParameters)
def mirror(wanted: MirrorParameters) -> MirrorResult:
    """Repairs the mirrors of all models, or of one; a second call finds nothing to do.

    It repairs all others before it fails, and names those that could not be repaired.
    """
    name_flow_run("mirror")
    result = mirror_models([wanted.name] if wanted.name else [], 0, 0)
    if not result.target:
        raise BadSetup("there is no mirror: set MLFLOW_MIRROR=yes and MLFLOW_TRACKING_URI; see docs/registry.md")
    if result.failed or result.away:
        raise MirrorFailed(result)
    return result
