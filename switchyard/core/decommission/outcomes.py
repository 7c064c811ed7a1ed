"""What one call of a decommission is told, and what it answers."""

from collections.abc import Mapping
from typing import Any

import msgspec

from switchyard.core.decommission.plan import Plan
from switchyard.core.decommission.rows import Walk
from switchyard.core.decommission.states import EvidenceName, State


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, and the walk that it began; None: a dry run."""

    plan: Plan
    walk: Walk | None
    inventory_uri: str
    is_new: bool


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What one call did, or would do."""

    name: str
    before: State
    state: State
    refusals: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = {}
    lost: tuple[str, ...] = ()  # what undo cannot bring back
    dry_run: bool = False
    digest: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a walk is."""

    walk: Walk
    following: State | None
    needs: tuple[EvidenceName, ...]
    stops: str
    back: str
    done: tuple[str, ...]
    open: tuple[str, ...]
    said_last: str  # the last refusal or stop
    cost_query: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What one `next` was told."""

    by: str
    confirm: str = ""  # the digest of inventory and rules, as a person typed it
    known_callers: tuple[str, ...] = ()  # besides those of the plan
    costs_seen: bool = False
    flow_account: str = ""
    dry_run: bool = False
