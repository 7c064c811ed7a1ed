"""Does the acts of a decommission one after the other: each is noted, done, waited for, and read back.

What was noted is never lost. A walk that was killed anywhere goes on from its steps.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn

import msgspec

from switchyard.core.decommission.absence import find_doubt
from switchyard.core.decommission.cloud import Cloud
from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.order import Act, Verb, list_touched
from switchyard.core.decommission.progress import Progress, Proof, find_surprise, has_effect
from switchyard.core.decommission.resources import Kind, Operation, Resource
from switchyard.core.decommission.resources import Progress as Ended
from switchyard.core.decommission.rows import Outcome, Step, Walk
from switchyard.core.decommission.states import State
from switchyard.core.errors import BadRecord, NotFound, StaleWrite, SwitchyardError, TryAgain, TryLater, to_message
from switchyard.services.decommission_looking import Site, describe

LOOKS: Final = 60
"""How long one operation is waited for before a person is asked to come back."""
PAUSE_S: Final = 5.0
_READ_BACKS: Final = 5
_TAKES_BACK: Final[Mapping[Verb, Verb]] = {"recover": "delete", "start": "stop"}
_CHECKED: Final = ("prepare", "stop", "delete", "sweep")

Still = Callable[[Act], "tuple[str, ...]"]
"""Why the gate no longer holds, right before that act; empty: it holds."""


class Refused(SwitchyardError):
    """A gate no longer holds in the middle of the acts; `refusals` says why. What is done stays done."""

    def __init__(self, refusals: tuple[str, ...]) -> None:
        self.refusals = refusals
        super().__init__("; ".join(refusals))


class Acting:
    """Does the acts of one call, under a revision that only it holds."""

    def __init__(self, site: Site, walk: Walk, inventory: Inventory, state: State, by: str) -> None:
        self._site = site
        self._walk = walk
        self._inventory = inventory
        self._state = state
        self._by = by
        # Read once: no one else adds a step as long as the revision is ours.
        self.progress = Progress(inventory, site.decommissions.list_steps(walk.name, walk=walk.walk))

    def note(self, act: str, outcome: Outcome, *, resource: str = "", **more: Any) -> None:
        """Adds a step. Raises: StaleWrite: another call has taken over."""
        step = Step(
            walk=self._walk.walk,
            state=self._state,
            resource=resource,
            act=act,
            outcome=outcome,
            by=self._by,
            at=self._site.clock(),
            **more,
        )
        self.progress.add(self._site.decommissions.add_step(self._walk.name, step, revision=self._walk.revision))

    def perform(self, acts: Iterable[Act], still: Still) -> list[Act]:
        """Does in order what is not done yet, and returns it.

        The first trouble ends it. Trouble that does not pass by itself is noted by name.

        Raises: Refused; StaleWrite: someone changed what is there; BadSetup: a permission is missing; BadRequest:
            something guards it; TryAgain, TryLater: an operation is not over, or has failed."""
        done: list[Act] = []
        for act in acts:
            if self.progress.read(act).state != "done":
                self._perform(act, self.progress, still)
                done.append(act)
        return done

    def take_back(self, acts: Iterable[Act]) -> tuple[list[Act], list[str]]:
        """Does the acts of undo. The trouble of one resource does not stop the others.

        Returns what was done, and what can no longer be brought back. A second call asks again for what was lost,
        and for what is gone again.

        Raises: the first other trouble, once all others were tried."""
        done: list[Act] = []
        lost: dict[str, str] = {}
        troubles: dict[str, SwitchyardError] = {}
        for act in acts:
            if act.resource in (*lost, *troubles) or (
                self.progress.read(act).state == "done" and not self._find_gone(act)
            ):
                continue
            try:
                self._perform(act, self.progress, lambda _act: ())
            except NotFound as err:
                lost[act.resource] = f"{to_message(err)}. To ask for it again: switchyard decommission undo"
            except SwitchyardError as err:
                troubles[act.resource] = err
            else:
                done.append(act)
        troubles |= {act.resource: TryAgain(why) for act in done if (why := self._find_gone(act))}
        for trouble in troubles.values():
            raise trouble
        return done, list(lost.values())

    def _perform(self, act: Act, progress: Progress, still: Still) -> None:
        cloud = self._site.clouds.kinds[act.kind]
        seen = progress.read(act)
        was_so = False
        self._let_end(cloud, act)
        if seen.state == "running":
            self._wait(cloud, Operation(kind=act.kind, resource=act.resource, name=seen.operation), act)
        else:
            saved = self._inventory.read(act.resource)
            fresh = describe(cloud, act.resource)
            surprise = find_surprise(act, progress, saved, fresh) or self._find_beside(act, progress)
            if act.verb in _CHECKED and surprise:
                self._stop(
                    act, StaleWrite(f"{surprise} Nothing was done to it. Find out by whom, then plan again or undo.")
                )
            if refusals := still(act):
                raise Refused(refusals)
            if seen.state == "open":
                self.note(act.verb, "begun", resource=act.resource)
            # What is there may be only half recovered, so a recovery always looks for itself.
            was_so = act.verb != "recover" and has_effect(act, act.kind, fresh)
            if not was_so:
                resource = saved if act.verb in ("recover", "start") else fresh
                if (
                    act.verb in ("prepare", "delete") and fresh is not None
                ):  # what is new since is told from what was there
                    resource = msgspec.structs.replace(fresh, parts=saved.parts)
                if act.verb == "start":  # undo may have created it again, and noted its new id
                    resource = msgspec.structs.replace(saved, unique_id=progress.expected_id(act.resource))
                self._begin(cloud, act, resource, was_begun=seen.state == "begun")
        self.note(act.verb, "done", resource=act.resource, proof=self._read_back(cloud, act, was_so=was_so))

    def _find_gone(self, act: Act) -> str:
        """Returns why what was brought back must be brought back again, and notes it. Empty: it is there.

        A deletion that no list showed may have ended since."""
        if act.verb != "recover":
            return ""
        fresh = describe(self._site.clouds.kinds[act.kind], act.resource)
        if has_effect(act, act.kind, fresh):
            return ""
        why = f"{act.kind} {act.resource} was brought back, and is gone again"
        self.note(act.verb, "stopped", resource=act.resource, proof=msgspec.json.encode({"why": why}).decode())
        return why

    def _find_beside(self, act: Act, progress: Progress) -> str:
        """Finds who else changed a resource of which the act changes the version too. Afterwards no one could tell."""
        if progress.read(act).state != "open":
            return ""
        for name in list_touched(self._inventory, act):
            kind = self._inventory.read(name).kind
            fresh = describe(self._site.clouds.kinds[kind], name)
            expected = progress.expected_version(name)
            if fresh is not None and fresh.version != expected and not progress.is_unsettled(name):
                return (
                    f"{kind} {name} was changed by someone: version {expected or 'none'} expected, "
                    f"{fresh.version or 'none'} found."
                )
        return ""

    def _begin(self, cloud: Cloud, act: Act, resource: Resource | None, *, was_begun: bool) -> None:
        assert resource is not None, "find_surprise has named what is not there"
        calls: dict[str, Callable[[Resource], Operation]] = {
            "prepare": cloud.prepare,
            "stop": cloud.stop,
            "delete": cloud.delete,
            "sweep": cloud.delete,
            "recover": cloud.recover,
            "start": cloud.start,
        }
        try:
            try:
                operation = calls[act.verb](resource)
            except NotFound as err:
                if act.verb not in _TAKES_BACK:
                    raise
                self._confirm(cloud, act, err)
                operation = calls[act.verb](resource)
        except TryAgain:
            raise
        except StaleWrite as err:
            if was_begun and act.verb in ("prepare", "stop"):
                raise TryAgain(f"what an earlier call began with {act.resource} is not over: {err}") from err
            self._stop(act, err)
        except SwitchyardError as err:
            self._stop(act, err)
        if operation.name:
            self.note(act.verb, "running", resource=act.resource, operation=operation.name)
            self._wait(cloud, operation, act)

    def _confirm(self, cloud: Cloud, act: Act, err: NotFound) -> None:
        """Makes sure of a first answer before asking a second time. Raises: TryAgain: that answer proves nothing."""
        self._site.pause(PAUSE_S)
        try:
            listed = cloud.find(self._inventory.sought)
        except BadRecord:
            listed = None
        if doubt := find_doubt(act.resource, listed, is_there=describe(cloud, act.resource) is not None):
            raise TryAgain(
                f"{act.kind} {act.resource} did not come back: {to_message(err)}. But {doubt}. "
                "Then run again: switchyard decommission undo"
            ) from err

    def _let_end(self, cloud: Cloud, act: Act) -> None:
        """Waits for what was begun to end, well or not, before it is taken back.

        An instance that is being deleted is still there, and would look saved."""
        if act.verb not in _TAKES_BACK:
            return
        earlier = self.progress.read(Act(verb=_TAKES_BACK[act.verb], kind=act.kind, resource=act.resource))
        if earlier.state == "running":
            with suppress(NotFound):  # Google forgets operations
                self._poll(cloud, Operation(kind=act.kind, resource=act.resource, name=earlier.operation), act)

    def _poll(self, cloud: Cloud, operation: Operation, act: Act) -> Ended:
        """Waits for the operation's end. Raises: TryLater: it is not over after many looks."""
        for look in range(LOOKS):
            found = cloud.poll(operation)
            if found.done:
                return found
            if look < LOOKS - 1:
                self._site.pause(PAUSE_S)
        raise TryLater(
            f"Operation {operation.name} on {act.resource} is not over yet. It goes on by itself. "
            f"To continue later: switchyard decommission {'undo' if act.verb in _TAKES_BACK else 'next'}"
        )

    def _wait(self, cloud: Cloud, operation: Operation, act: Act) -> None:
        try:
            found = self._poll(cloud, operation, act)
        except TryAgain:
            raise
        except NotFound as err:  # the operation is forgotten, which says nothing of the resource: look at that again
            self._stop(act, TryAgain(f"{to_message(err)}. Run the same command again"))
        except SwitchyardError as err:
            self._stop(act, err)
        if found.problem:
            self._stop(
                act,
                TryLater(
                    f"Operation {operation.name} ({act}) failed: {found.problem}. Nothing after it was done. "
                    "Remove the cause, then run the same command again."
                ),
            )

    def _read_back(self, cloud: Cloud, act: Act, *, was_so: bool) -> str:
        """Returns the proof, once the resource is as the act leaves it."""
        fresh = describe(cloud, act.resource)
        for _ in range(_READ_BACKS):
            if act.verb in ("prepare", "start") or has_effect(act, act.kind, fresh):
                break
            self._site.pause(PAUSE_S)
            fresh = describe(cloud, act.resource)
        else:
            raise TryAgain(f"{act.kind} {act.resource} does not yet show what was done to it ({act.verb})")
        left = {fresh.name: fresh.version} if fresh is not None else {}
        for name in list_touched(self._inventory, act):
            other = describe(self._site.clouds.kinds[self._inventory.read(name).kind], name)
            left |= {name: other.version} if other is not None else {}
        kept = cloud.list_kept(self._inventory.read(act.resource)) if act.verb in ("prepare", "delete") else ()
        unique_id = fresh.unique_id if fresh is not None and act.verb == "recover" else ""
        proof = Proof(left=left, unique_id=unique_id, kept=tuple(kept), was_so=was_so)
        return msgspec.json.encode(proof).decode()

    def _stop(self, act: Act, err: SwitchyardError) -> NoReturn:
        """Notes what stopped the act, then raises it."""
        proof = msgspec.json.encode({"why": to_message(err)}).decode()
        self.note(act.verb, "stopped", resource=act.resource, proof=proof)
        raise err


def is_account(act: Act) -> bool:
    """Returns True if the deployment's own account is deleted."""
    return act.verb == "delete" and act.kind is Kind.SERVICE_ACCOUNT
