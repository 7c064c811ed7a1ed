"""Registering: which source is which version."""

from switchyard.core.errors import StaleWrite
from switchyard.core.registry.names import check_model_name
from switchyard.core.registry.rows import ModelVersion, NewVersion


def to_run_source(quick_test_id: int, run_key: str) -> str:
    """The source key of a run's model: of the job that trained it, where one of ours did.

    >>> to_run_source(12, "9f86d081")
    'run:9f86d081'
    >>> to_run_source(12, "")
    'quick-test:12'
    """
    return f"run:{run_key}" if run_key else f"quick-test:{quick_test_id}"


def check_new(new: NewVersion) -> None:
    """Raises: BadRequest: its model's name is none."""
    check_model_name(new.name)


def check_same(registered: ModelVersion, new: NewVersion) -> None:
    """A source that is registered already must have the files that it had then.

    Raises:
        StaleWrite: they have changed since.
    """
    if registered.digest != new.manifest.digest:
        raise StaleWrite(
            f"{new.source_uri} is version {registered.version} of model {new.name} already, with digest "
            f"{registered.digest}; its files have changed since, and have digest {new.manifest.digest}. A version's "
            "files never change: restore them, or train another run and register that"
        )
