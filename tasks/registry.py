"""The registry of models: what a flow registers, promotes and takes back, and what it tells Prefect of it."""

from switchyard.clients.connect import connect
from switchyard.core.registry.acts import Acts
from switchyard.core.registry.rows import ModelVersion, Outcome
from switchyard.services import announcing
from tasks import plain_registry
from tasks.policy import effect

register_run = effect(plain_registry.register_run)
register_source = effect(plain_registry.register_source)
read_model = effect(plain_registry.read_model)
find_request = effect(plain_registry.find_request)
check_files = effect(plain_registry.check_files)
promote_version = effect(plain_registry.promote_version)
roll_back = effect(plain_registry.roll_back)


@effect
def announce_model(outcome: Outcome) -> bool:
    """Returns True if a Prefect server took the event."""
    outside = connect()
    return announcing.announce_model(outside.runs, outside.models, outcome)


@effect
def announce_registered(version: ModelVersion) -> bool:
    """Returns True if a Prefect server took the event."""
    outside = connect()
    return announcing.announce_registered(outside.runs, outside.models, version)


ACTS = Acts(
    register_run=register_run,
    register_source=register_source,
    read_model=read_model,
    find_request=find_request,
    check_files=check_files,
    promote_version=promote_version,
    roll_back=roll_back,
    announce_model=announce_model,
    announce_registered=announce_registered,
)
"""All of them, as the flows' steps take them."""
