"""How far a walk's acts are, and what a resource must look like before the next one, as the stored steps say."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, get_args

import msgspec

from switchyard.core.decommission.evidence import AnyEvidence, DrillEvidence, EvidenceSet, from_json
from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.order import Act, Verb, list_touched
from switchyard.core.decommission.resources import Activity, Kept, Kind, Resource
from switchyard.core.decommission.rows import Step
from switchyard.core.decommission.states import State

VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
ActState = Literal["open", "begun", "running", "done"]


class Proof(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was read back after an act."""

    left: Mapping[str, str] = {}  # versions of the resource, and of others of the same owner, as the act left them
    unique_id: str = ""  # of what was brought back: a new one is another
    kept: tuple[Kept, ...] = ()
    was_so: bool = False  # nothing was to do


class ActProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one act is."""

    state: ActState = "open"
    operation: str = ""


class Progress:
    """What the steps of one walk say."""

    def __init__(self, inventory: Inventory, steps: Sequence[Step]) -> None:
        self._inventory = inventory
        self.steps: list[Step] = []
        self._acts: dict[tuple[str, str], ActProgress] = {}
        self._versions = {one.name: one.version for one in inventory.resources}
        self._ids = {one.name: one.unique_id for one in inventory.resources}
        self.begun: list[Act] = []
        self.operations: list[str] = []
        for step in steps:
            self.add(step)

    def add(self, step: Step) -> None:
        """Adds one step."""
        self.steps.append(step)
        if not step.resource or step.act not in VERBS:
            return
        verb: Verb = step.act
        act = Act(verb=verb, kind=self._inventory.read(step.resource).kind, resource=step.resource)
        if step.outcome == "begun":
            self.begun.append(act)
            self._acts[(verb, step.resource)] = ActProgress(state="begun")
        elif step.outcome == "running":
            self._acts[(verb, step.resource)] = ActProgress(state="running", operation=step.operation)
            self.operations.append(step.operation)
        elif step.outcome == "stopped":  # what was begun goes on from a fresh look
            if (verb, step.resource) in self._acts:
                self._acts[(verb, step.resource)] = ActProgress(state="begun")
        elif step.outcome == "done":
            self._acts[(verb, step.resource)] = ActProgress(state="done", operation=step.operation)
            proof = msgspec.json.decode(step.proof or "{}", type=Proof)
            self._versions.update(proof.left)
            if proof.unique_id:
                self._ids[step.resource] = proof.unique_id

    def read(self, act: Act) -> ActProgress:
        """Returns how far `act` is."""
        return self._acts.get((act.verb, act.resource), ActProgress())

    def is_done(self, verb: Verb, resource: str) -> bool:
        """Returns True once it was read back."""
        return self._acts.get((verb, resource), ActProgress()).state == "done"

    def is_begun(self, verb: Verb, resource: str) -> bool:
        """Returns True from its note on, whether it is done or not."""
        return (verb, resource) in self._acts

    def find_done(self, verb: Verb, resource: str) -> datetime | None:
        """Returns when it was read back; None: it was not."""
        found = [s.at for s in self.steps if (s.act, s.resource, s.outcome) == (verb, resource, "done")]
        return found[-1] if found else None

    def expected_version(self, resource: str) -> str:
        """Returns what the last act of ours left; before any, the inventory's."""
        return self._versions[resource]

    def expected_id(self, resource: str) -> str:
        """Returns the unique id of the inventory, or of what undo has made again."""
        return self._ids[resource]

    def is_unsettled(self, resource: str) -> bool:
        """Returns True if an act that was begun, and not read back, may have changed its version."""
        open_acts = [act for act in self.begun if self.read(act).state in ("begun", "running")]
        return any(resource in (act.resource, *list_touched(self._inventory, act)) for act in open_acts)

    @property
    def has_acted(self) -> bool:
        """True once an act was begun, whether it was done or not."""
        return has_acted(self.steps)

    @property
    def has_undone(self) -> bool:
        """True once undo has begun: then only undo goes on."""
        return any(act.verb in ("recover", "start") for act in self.begun)

    def find_look(self) -> EvidenceSet | None:
        """Returns the evidence that was frozen before the first stop; None: it was not yet."""
        found = [step for step in self.steps if step.act == "look" and step.outcome == "passed"]
        return from_json(found[-1].evidence) if found else None

    def find_evidence(self, name: str, state: State) -> AnyEvidence | None:
        """Returns that piece of what passed the gate of `state`; None: it did not pass."""
        for step in reversed(self.steps):
            if step.act == "gate" and step.outcome == "passed" and step.state is state:
                found = from_json(step.evidence).get(name)
                if found is not None:  # what is read after the acts has other pieces
                    return found
        return None

    def find_drill(self) -> DrillEvidence | None:
        """Returns the last drill, whether the gate that asked for it was passed or not; None: there was none."""
        for step in reversed(self.steps):
            found = from_json(step.evidence).get("drill") if step.act == "gate" and step.evidence else None
            if isinstance(found, DrillEvidence):
                return found
        return None

    def list_kept(self, resource: str) -> tuple[Kept, ...]:
        """Returns what was kept of it when its last deletion was read back: some of that is over by now.

        Empty: it was not deleted.
        """
        for step in reversed(self.steps):
            if (step.act, step.resource, step.outcome) == ("delete", resource, "done"):
                return msgspec.json.decode(step.proof or "{}", type=Proof).kept
        return ()

    def find_last(self, verb: Verb) -> datetime | None:
        """Returns when the last act of that verb was done; None: none was."""
        return max((s.at for s in self.steps if s.act == verb and s.outcome == "done"), default=None)


def has_acted(steps: Sequence[Step]) -> bool:
    """Returns True once an outside effect was noted."""
    return any(step.act in VERBS and step.outcome == "begun" for step in steps)


def find_surprise(act: Act, progress: Progress, saved: Resource, fresh: Resource | None) -> str:
    """Returns why `act` must not be done to what is there now; empty: it may.

    An act that was begun may have had half of its effect, so that the version alone says nothing then; a deletion that
    was begun still asks for it, since it cannot be taken back.
    """
    was_begun = progress.read(act).state != "open"
    what = f"{saved.kind} {saved.name}"
    if act.verb == "sweep" and (fresh is None or fresh.activity is Activity.ACTIVE):
        return "" if fresh is None else f"{what} is in use again."
    if has_effect(act, saved.kind, fresh) and (was_begun or _is_stopped_variable(act, progress, saved, fresh)):
        return ""
    if fresh is None or (fresh.activity is Activity.DELETED and act.verb != "sweep"):
        return f"{what} is gone, and no act of this walk deleted it."
    expected_id, expected = progress.expected_id(saved.name), progress.expected_version(saved.name)
    if expected_id and fresh.unique_id != expected_id:
        found = fresh.unique_id or "none"
        return f"{what} is another one than in the inventory: unique id {expected_id} there, {found} now."
    if fresh.managed_by and not saved.managed_by:
        return f"{what} is managed by {fresh.managed_by} now; in the inventory it was not."
    if fresh.version != expected and (not was_begun or act.verb in ("delete", "sweep")):
        found = fresh.version or "none"
        return f"{what} was changed by someone: version {expected or 'none'} expected, {found} found."
    return ""


def has_effect(act: Act, kind: Kind, fresh: Resource | None) -> bool:
    """Returns True if what is there now is what `act` makes of it. A variable is stopped by taking it away."""
    if act.verb == "delete":
        return fresh is None or fresh.activity is Activity.DELETED
    if act.verb == "sweep":
        return fresh is None
    if act.verb == "recover":
        return fresh is not None and fresh.activity is not Activity.DELETED
    if act.verb == "stop":
        return fresh.activity is not Activity.ACTIVE if fresh is not None else kind is Kind.VARIABLE
    return False  # of the others, a second call looks itself


def _is_stopped_variable(act: Act, progress: Progress, saved: Resource, fresh: Resource | None) -> bool:
    return (
        act.verb == "delete" and fresh is None and saved.kind is Kind.VARIABLE and progress.is_done("stop", saved.name)
    )
