"""What promote and rollback answer: which version is champion."""

import msgspec

from switchyard.core.registry.rows import Outcome


class ChampionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The champion after a promotion or a rollback."""

    name: str
    version: int
    replaced: int | None  # the champion before; None: there was none
    is_new: bool  # False: it was champion already, and nothing was changed
    seq: int  # of its line in the model's history; 0: none was written


def to_result(outcome: Outcome) -> ChampionResult:
    """Returns the answer of a flow that made `outcome.version` champion."""
    return ChampionResult(
        name=outcome.name,
        version=outcome.version,
        replaced=outcome.replaced,
        is_new=outcome.act is not None,
        seq=outcome.seq,
    )
