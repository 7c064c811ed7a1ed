"""Compares two versions for a flow, and keeps the judgement."""

import os

from switchyard.clients.connect import connect
from switchyard.core.registry.held_out import Wish
from switchyard.core.registry.judging import Comparison
from switchyard.core.registry.rows import Judgement, Outcome, Verdict
from switchyard.services import judgements
from tasks.policy import effect


@effect
def compare_versions(wish: Wish) -> Comparison:
    """Measures the version and the champion on the same held-out purchases; nothing is written."""
    # numpy reads this when it is first imported, which is here. With threads of its own, a product of a few thousand
    # rows takes ten times as long on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from switchyard.services import validating

    outside = connect()
    return validating.compare(validating.Ports(outside.models, outside.objects, outside.predictions), wish)


@effect
def keep_verdict(verdict: Verdict) -> Outcome:
    """Keeps the judgement with the version and in the history, once."""
    return connect().models.validate(verdict)


@effect
def read_judgement(name: str, version: int, seq: int) -> Judgement:
    """Reads what was kept by line `seq` of the model's history; 0: the judgement on the version itself."""
    return judgements.read_judgement(connect().models, name, version, seq)
