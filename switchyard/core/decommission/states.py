"""The states of a decommission, from the inventory to the bill: what each asks for, does, and how it is taken back."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

import msgspec

from switchyard.core.errors import BadRequest

Acts = Literal["nothing", "stop", "delete", "sweep"]
EvidenceName = Literal[
    "inventory", "verify", "published", "kept", "export", "drill", "quiet", "stop", "use", "approval", "gone", "cost"
]


class State(StrEnum):
    """What has been reached. One `next` goes at most one state further."""

    INVENTORY = "inventory"
    VERIFIED = "verified"
    EXPORTED = "exported and drilled"
    QUIET = "quiet"
    SOFT_STOPPED = "soft stopped"
    QUIET_AGAIN = "quiet again"
    APPROVED = "approved"
    DELETING = "deleting"
    GONE = "gone"
    COST_CHECKED = "cost checked"
    UNDONE = "undone"  # a new plan begins a new walk


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """How a state is reached."""

    needs: tuple[EvidenceName, ...]  # what its gate looks at before it acts
    acts: Acts = "nothing"
    proves: tuple[EvidenceName, ...] = ()  # what is read after the acts, before the state is reached
    back: str  # how it is taken back
    stops: str  # what holds it up, in words


_NOTHING_BACK: Final = "nothing was changed"
MOVES: Final[Mapping[State, Move]] = {
    State.VERIFIED: Move(
        needs=("inventory", "verify", "published", "kept"),
        back=_NOTHING_BACK,
        stops="a run that failed verify, a run that verify did not see, runs that still need MLflow, artifacts or a "
        "registry that are kept nowhere",
    ),
    State.EXPORTED: Move(
        needs=("inventory", "verify", "export", "drill"),
        back=_NOTHING_BACK,
        stops="an export that is damaged or lacks runs, a restored MLflow that does not answer the same",
    ),
    State.QUIET: Move(
        needs=("inventory", "verify", "quiet"),
        back=_NOTHING_BACK,
        stops="a run or point that is newer than verify's manifest, a caller that no one named",
    ),
    State.SOFT_STOPPED: Move(
        # The last that is asked of MLflow. It is kept with its digest; from here on nothing asks MLflow again.
        needs=("inventory", "verify", "published", "kept", "export", "drill", "quiet"),
        acts="stop",
        proves=("stop",),
        back="undo starts all again, in reverse",
        stops="as verified, exported and quiet, all asked again; a guard, a missing permission, Terraform, a resource "
        "that has changed since the inventory",
    ),
    State.QUIET_AGAIN: Move(
        needs=("stop", "use"),
        back="undo starts all again, in reverse",
        stops="too little time, a caller that was refused, a service or an instance that someone started",
    ),
    State.APPROVED: Move(
        needs=("stop", "use", "approval"),
        back="undo starts all again, in reverse",
        stops="too few approvals of this inventory's digest, or expired ones",
    ),
    State.DELETING: Move(
        needs=("inventory", "stop", "use", "approval"),
        acts="delete",
        back="undo brings back what Google Cloud still keeps, and makes the rest again from what was saved",
        stops="as soft stopped and approved; each resource is read again before it is deleted",
    ),
    State.GONE: Move(
        needs=("gone",),
        back="as deleting, within the same times",
        stops="a resource that is still listed, a list without its control, a final backup that is not SUCCESSFUL",
    ),
    State.COST_CHECKED: Move(
        needs=("cost",),
        acts="sweep",
        back="as deleting, within the same times; a secret is lost before",
        stops="too little time since the last deletion, a resource that still costs something, a secret with versions "
        "that wait for their destruction",
    ),
}
"""The moves, by the state that is reached."""
_WALK: Final = (State.INVENTORY, *MOVES)


def next_state(state: State) -> State | None:
    """Returns the state after `state`; None: the walk is over.

    Raises: BadRequest: it was undone, so that it begins again."""
    if state is State.UNDONE:
        raise BadRequest("This decommission was undone. Begin a new one: switchyard decommission plan")
    place = _WALK.index(state) + 1
    return _WALK[place] if place < len(_WALK) else None
