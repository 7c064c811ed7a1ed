"""Register: a completed run's model becomes the next version of a named model."""

import msgspec
from prefect import flow

from flows.parameters import RegisterParameters
from flows.signatures import takes
from tasks.registry import announce_registered, register_run
from tasks.show import name_flow_run


class RegisterResult(msgspec.Struct, frozen=True, kw_only=True):
    """The version that the run's model is."""

    name: str
    version: int
    stage: str
    digest: str  # of its list of files
    is_new: bool  # False: the run was registered before
    source_uri: str  # the folder of its files


@flow(name="register")
@takes(RegisterParameters)
def register(wanted: RegisterParameters) -> RegisterResult:
    """Reads and hashes the files of the run's model, and lists them as a version, pending and in no stage.

    The same run registers once: a second call finds its version.
    """
    name_flow_run(f"register quick-test-{wanted.quick_test_id}")
    made = register_run(wanted.quick_test_id, wanted.name, wanted.by, wanted.description)
    announce_registered(made.version)
    return RegisterResult(
        name=made.version.name,
        version=made.version.version,
        stage=made.version.stage,
        digest=made.version.digest,
        is_new=made.is_new,
        source_uri=made.version.source_uri,
    )
