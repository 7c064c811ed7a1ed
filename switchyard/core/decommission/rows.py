"""A decommission as it is stored: one row that is lock and compare-and-set, and steps that are only ever added."""

from datetime import datetime
from typing import Literal

import msgspec

from switchyard.core.decommission.rules import Rules
from switchyard.core.decommission.states import State

Outcome = Literal["begun", "running", "done", "passed", "refused", "stopped"]
"""How far an act or a gate came. Of an act: begun before it, running once its operation has a name, done once it was
read back. Of a gate: passed, refused. Of either: stopped, by what was not expected."""


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """The row of one walk. `revision` grows with every call that writes, so that of two at once one loses."""

    name: str
    walk: int  # 1 for the first plan of this name; each new inventory is one more
    state: State
    since: datetime
    by: str
    inventory: str  # the digest
    rules: Rules
    revision: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was taken, or was not."""

    seq: int = 0  # given when it is stored, ascending without gaps
    walk: int
    state: State  # that the step leads to
    resource: str = ""  # empty: it is of none, or of all
    act: str  # `order.Verb`, or "save", "rules", "gate", "look"
    outcome: Outcome
    operation: str = ""  # the vendor's name of it
    evidence: str = ""  # JSON
    proof: str = ""  # JSON
    by: str = ""
    at: datetime
