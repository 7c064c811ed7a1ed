"""The registry of models: what a flow registers, promotes and takes back, and what it tells Prefect of it."""

from switchyard.clients.connect import connect
from switchyard.core.registry.rows import Model, ModelVersion, Outcome, Promotion, Registered, Rollback
from switchyard.services import announcing, registering
from tasks.policy import effect


@effect
def register_run(quick_test_id: int, name: str, by: str, description: str) -> Registered:
    """The version that the run's model is, made once."""
    outside = connect()
    ports = registering.Ports(outside.runs, outside.jobs, outside.models, outside.objects)
    return registering.register_run(ports, quick_test_id, name, by=by, description=description)


@effect
def read_model(name: str) -> Model:
    """The model's row."""
    return connect().models.read_model(name)


@effect
def find_request(name: str, request_key: str) -> Outcome | None:
    """What the request of that key has done; None: nothing yet."""
    return connect().models.find_request(name, request_key)


@effect
def check_files(name: str, version: int) -> str:
    """The version's digest, which its files still have to the last byte."""
    outside = connect()
    return registering.check_files(outside.models, outside.objects, name, version).digest


@effect
def promote_version(wanted: Promotion) -> Outcome:
    """Makes the version champion, once."""
    return connect().models.promote(wanted)


@effect
def roll_back(wanted: Rollback) -> Outcome:
    """Takes the champion back, once."""
    return connect().models.roll_back(wanted)


@effect
def announce_model(outcome: Outcome) -> bool:
    """True where a Prefect server took the event."""
    outside = connect()
    return announcing.announce_model(outside.runs, outside.models, outcome)


@effect
def announce_registered(version: ModelVersion) -> bool:
    """True where a Prefect server took the event."""
    outside = connect()
    return announcing.announce_registered(outside.runs, outside.models, version)
