"""The stages of a model's version, and which moves between them there are."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    """Where a version stands, in MLflow's words."""

    NONE = "None"
    STAGING = "Staging"  # the challenger: it gets its share of the traffic
    PRODUCTION = "Production"  # the champion
    ARCHIVED = "Archived"


class Validation(StrEnum):
    """What a comparison with a champion said of a version's files."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"


class Act(StrEnum):
    """What a line of a model's history says was done."""

    REGISTERED = "registered"
    VALIDATED = "validated"
    MOVED = "moved"  # by a person: to Staging, back to None, to Archived
    SHARED = "share changed"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    REPLACED = "replaced"  # made room for another version, which the history's next line names
    TOMBSTONED = "tombstoned"
    IMPORTED = "imported"  # from another registry, with the stage that it had there


MOVES: Final[Mapping[Stage, Mapping[Stage, frozenset[Act]]]] = {
    Stage.NONE: {
        Stage.STAGING: frozenset({Act.MOVED}),
        Stage.PRODUCTION: frozenset({Act.PROMOTED, Act.ROLLED_BACK}),
        Stage.ARCHIVED: frozenset({Act.MOVED}),
    },
    Stage.STAGING: {
        Stage.NONE: frozenset({Act.MOVED, Act.REPLACED}),
        Stage.PRODUCTION: frozenset({Act.PROMOTED, Act.ROLLED_BACK}),
        Stage.ARCHIVED: frozenset({Act.MOVED}),
    },
    # Out of Production there is one way: who was champion is archived, and comes back by a rollback.
    Stage.PRODUCTION: {Stage.ARCHIVED: frozenset({Act.MOVED, Act.REPLACED})},
    Stage.ARCHIVED: {
        Stage.NONE: frozenset({Act.MOVED}),
        Stage.STAGING: frozenset({Act.MOVED}),
        Stage.PRODUCTION: frozenset({Act.PROMOTED, Act.ROLLED_BACK}),
    },
}
"""The moves from one stage to another, and the acts that make them. What is not here is refused."""


def may_move(before: Stage, after: Stage, act: Act) -> bool:
    """Returns whether `act` may take a version from one stage to the other.

    >>> may_move(Stage.PRODUCTION, Stage.ARCHIVED, Act.REPLACED)
    True
    >>> may_move(Stage.PRODUCTION, Stage.STAGING, Act.MOVED)
    False
    """
    return act in MOVES[before].get(after, frozenset())
