"""Reads back what comparisons said, from a model's history."""

import msgspec

from switchyard.core.errors import NotFound
from switchyard.core.ports import Models
from switchyard.core.registry.rows import Judgement


def read_judgement(models: Models, name: str, version: int, seq: int) -> Judgement:
    """Returns the judgement that line `seq` of the model's history keeps; for line 0 the version's own.

    The version may have another judgement since. A second call reads again. Raises: NotFound."""
    if not seq:
        return models.find_version(name, str(version)).judgement
    for line in models.list_transitions(name):
        if line.seq == seq:
            return msgspec.convert(line.evidence, Judgement)
    raise NotFound(f"the history of model {name} has no line {seq}")
