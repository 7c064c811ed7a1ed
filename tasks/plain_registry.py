"""What the tasks of the registry do, as plain functions that import no Prefect.

They are for the command line if no Prefect server is named: it then needs neither Prefect's import nor a server of its
own.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from switchyard.clients.connect import connect
from switchyard.core.errors import TryAgain, TryLater
from switchyard.core.registry.acts import Acts
from switchyard.core.registry.rows import Model, ModelVersion, Outcome, Promotion, Registered, Rollback
from switchyard.services import registering

P = ParamSpec("P")
R = TypeVar("R")

_DELAYS_S: Final = (1, 2, 4, 8, 16)
"""The delays of a task (`tasks.policy`)."""


def register_run(quick_test_id: int, name: str, by: str, description: str) -> Registered:
    """Makes the run's model a version, once, and returns it."""
    outside = connect()
    ports = registering.Ports(outside.runs, outside.jobs, outside.models, outside.objects)
    return registering.register_run(ports, quick_test_id, name, by=by, description=description)


def register_source(source: str, name: str, by: str, description: str) -> Registered:
    """Makes the model at `source` a version, once, and returns it."""
    # Only here: loading what reads MLflow takes time, and a rollback needs none of it.
    from switchyard.services import registering_elsewhere
    from switchyard.services.importing_files import open_importing

    outside = connect()
    ports = registering_elsewhere.Ports(open_importing(outside), outside.open_registry, lambda: outside.tracking)
    return registering_elsewhere.register_source(ports, source, name, by=by, description=description)


def read_model(name: str) -> Model:
    """Reads the model's row."""
    return connect().models.read_model(name)


def list_versions(name: str) -> list[ModelVersion]:
    """Lists the model's versions, the newest first."""
    return connect().models.list_versions(name)


def find_request(name: str, request_key: str) -> Outcome | None:
    """Finds what the request of that key has done; None: nothing yet."""
    return connect().models.find_request(name, request_key)


def check_files(name: str, version: int) -> str:
    """Checks that the version's files are the same to the last byte, and returns the version's digest."""
    outside = connect()
    return registering.check_files(outside.models, outside.objects, name, version).digest


def promote_version(wanted: Promotion) -> Outcome:
    """Makes the version champion, once."""
    return connect().models.promote(wanted)


def roll_back(wanted: Rollback) -> Outcome:
    """Takes the champion back, once."""
    return connect().models.roll_back(wanted)


def make_plain_acts() -> Acts:
    """Returns the functions above, with a task's patience.

    No event is sent: there is no server that someone watches.
    """
    return Acts(
        register_run=_patient(register_run),
        register_source=_patient(register_source),
        read_model=_patient(read_model),
        find_request=_patient(find_request),
        check_files=_patient(check_files),
        promote_version=_patient(promote_version),
        roll_back=_patient(roll_back),
        announce_model=lambda _: False,
        announce_registered=lambda _: False,
    )


def _patient(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for delay_s in _DELAYS_S:
            try:
                return function(*args, **kwargs)
            except TryLater:
                raise
            except TryAgain:
                time.sleep(delay_s)
        return function(*args, **kwargs)

    return call
