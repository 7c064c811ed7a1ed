"""Validation: what a flow measures of two versions, and keeps."""

from switchyard.clients.connect import connect
from switchyard.core.registry.held_out import Wish
from switchyard.core.registry.judging import Comparison
from switchyard.core.registry.rows import Judgement, Outcome, Verdict
from switchyard.services import validating
from tasks.policy import effect


@effect
def compare_versions(wish: Wish) -> Comparison:
    """The version and the champion on the same held-out purchases; nothing is written."""
    outside = connect()
    return validating.compare(validating.Ports(outside.models, outside.objects), wish)


@effect
def keep_verdict(verdict: Verdict) -> Outcome:
    """Keeps the judgement with the version and in the history, once."""
    return connect().models.validate(verdict)


@effect
def read_judgement(name: str, version: int, seq: int) -> Judgement:
    """What was kept by line `seq` of the model's history; 0: what stands on the version."""
    return validating.read_judgement(connect().models, name, version, seq)
