"""The registry as it is read page by page: what is asked for, and what a list says of a model."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from switchyard.core.registry.rows import Model, Transition
from switchyard.core.registry.stages import Act, Stage


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """A model, and what a reader of a list wants to know of it."""

    model: Model
    versions: int = 0  # those that there are, tombstoned ones too
    standing: Transition | None = None  # the line by which Production changed last; None: it never did
    last: Transition | None = None  # the last line of its history

    @property
    def champion(self) -> Transition | None:
        """The line by which the champion became it; None: nothing is in Production, or the history does not say."""
        line = self.standing
        is_it = line is not None and line.version == self.model.production and enters_production(line)
        return line if is_it else None


class LineQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a history, the newest first; what is at its default narrows nothing."""

    limit: int
    before: int | None = None  # only lines with a smaller seq
    until: datetime | None = None  # only lines of then and before
    version: int | None = None
    acts: Sequence[Act] = ()
    forced: bool = False  # only those that went past a comparison


def enters_production(line: Transition | None) -> bool:
    """Returns whether a version was in Production after a line by which Production changed.

    >>> enters_production(None)
    False
    """
    return line is not None and line.to_stage is Stage.PRODUCTION
