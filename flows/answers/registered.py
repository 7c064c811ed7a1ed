"""What register answers: the version that was made of a run's model."""

import msgspec

from switchyard.core.registry.rows import Registered


class RegisterResult(msgspec.Struct, frozen=True, kw_only=True):
    """The version that was made of the run's model."""

    name: str
    version: int
    stage: str
    digest: str  # of its list of files
    is_new: bool  # False: the run was registered before
    source_uri: str  # the folder of its files


def to_result(made: Registered) -> RegisterResult:
    """Returns the answer of a flow that registered a version."""
    return RegisterResult(
        name=made.version.name,
        version=made.version.version,
        stage=made.version.stage,
        digest=made.version.digest,
        is_new=made.is_new,
        source_uri=made.version.source_uri,
    )
