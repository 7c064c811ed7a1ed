"""What `decommission plan`, `status`, `next`, `undo` and `record` answer, and how it is shown."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from switchyard.core.decommission.approvals import Statement, to_commands
from switchyard.core.decommission.outcomes import Planned, Status, Taken
from switchyard.core.decommission.plan import Plan, to_text
from switchyard.core.decommission.record import Record, to_markdown
from switchyard.core.decommission.rules import to_approved_digest, to_rules_digest
from switchyard.core.decommission.rules import to_json as to_rules_json
from switchyard.core.decommission.states import State
from switchyard.core.errors import SwitchyardError

_SIGNED_FOR: Final = timedelta(days=7)


class DecommissionPlanResult(msgspec.Struct, frozen=True, kw_only=True):
    """All that would be stopped and deleted."""

    plan: Plan
    inventory_uri: str
    is_new: bool  # False: a dry run, or the same was found as before
    dry_run: bool

    @property
    def lines(self) -> list[str]:
        """Returns the plan's lines, in the form of `terraform plan`."""
        saved = "A dry run: nothing is saved." if self.dry_run else f"Saved at {self.inventory_uri}"
        return [to_text(self.plan), saved]


class DecommissionStatusResult(msgspec.Struct, frozen=True, kw_only=True):
    """How far a decommission is."""

    name: str
    state: State
    since: datetime
    by: str
    inventory: str
    rules: str  # as they are approved; their digest is of exactly this text
    approved: str  # what a person types to approve
    following: State | None
    needs: tuple[str, ...]
    done: tuple[str, ...]
    open: tuple[str, ...]
    stops: str
    back: str
    said_last: str
    cost_query: str
    to_sign: str = ""  # what each of several people pastes to approve; empty: nothing is to be signed now

    @property
    def lines(self) -> list[str]:
        """Says in words how far it is."""
        found = [
            f"decommission {self.name}: {self.state.value} since {self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC, by "
            f"{self.by or 'someone without a name'}",
            f"inventory  {self.inventory}",
            f"rules      {self.rules}",
            f"approve    {self.approved} (inventory and rules)",
            f"done       {len(self.done)} of {len(self.done) + len(self.open)} acts",
            f"back       {self.back}",
        ]
        found += [f"held up    {self.said_last}"] if self.said_last else []
        if self.following is not None:
            found += [
                f"next       {self.following.value}; looks at {', '.join(self.needs)}",
                f"           is held up by {self.stops}",
            ]
        found += ["", "To approve, each person runs this with their own address:", self.to_sign] if self.to_sign else []
        found += ["", "What it costs now:", self.cost_query] if self.cost_query else []
        return found


class DecommissionTakenResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `next` or `undo` did, or would do."""

    name: str
    before: State
    state: State
    refusals: tuple[str, ...]
    acts: tuple[str, ...]
    lost: tuple[str, ...]
    evidence: Mapping[str, Any]
    dry_run: bool
    inventory: str

    @property
    def lines(self) -> list[str]:
        """Returns the acts, then where the walk stands."""
        did = "would" if self.dry_run else "did"
        found = [f"{did}  {act}" for act in self.acts]
        found += [f"lost  {one}" for one in self.lost]
        found += [f"- {refusal}" for refusal in self.refusals]
        if self.dry_run:
            return [*found, f"A dry run: decommission {self.name} stays {self.state.value!r}."]
        moved = f"{self.before.value!r} -> {self.state.value!r}"
        return [*found, f"decommission {self.name}: {moved if self.before is not self.state else self.state.value}"]


class DecommissionRecordResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, for people and for programs."""

    record: Record
    files: tuple[str, ...]
    dry_run: bool

    @property
    def lines(self) -> list[str]:
        """Returns the Markdown, and where it was written."""
        where = "A dry run: nothing is written." if self.dry_run else f"Written to {', '.join(self.files)}"
        return [to_markdown(self.record), where]


DecommissionResult = (
    DecommissionPlanResult | DecommissionStatusResult | DecommissionTakenResult | DecommissionRecordResult
)


class DecommissionHeld(SwitchyardError):
    """A gate was not passed, or something could not be brought back; `result` says what was done all the same."""

    def __init__(self, result: DecommissionTakenResult) -> None:
        self.result = result
        why = [*result.refusals, *(f"lost: {one}" for one in result.lost)]
        said = " ".join(f"({number}) {one}" for number, one in enumerate(why, 1)) if len(why) > 1 else "".join(why)
        dry = " (a dry run)" if result.dry_run else ""
        super().__init__(f"{result.name} is {result.state.value!r}{dry}. {said}")


def to_plan_result(planned: Planned) -> DecommissionPlanResult:
    """Returns the answer of `decommission plan`."""
    return DecommissionPlanResult(
        plan=planned.plan,
        inventory_uri=planned.inventory_uri,
        is_new=planned.is_new,
        dry_run=planned.walk is None,
    )


def to_status_result(status: Status, approvals_folder: str, now: datetime) -> DecommissionStatusResult:
    """Returns the answer of `decommission status`, from a walk's rows.

    It has what people are to sign now, which expires a week later.
    """
    walk = status.walk
    is_signed = walk.rules.approvals > 1 and status.following in (State.APPROVED, State.DELETING)
    expires_at = (now + _SIGNED_FOR).replace(microsecond=0)
    statement = Statement(
        digest=walk.inventory,
        rules=to_rules_digest(walk.rules),
        state=State.APPROVED.value,
        approver="you@example.com",
        expires_at=expires_at,
    )
    return DecommissionStatusResult(
        name=walk.name,
        state=walk.state,
        since=walk.since,
        by=walk.by,
        inventory=walk.inventory,
        rules=to_rules_json(walk.rules),
        approved=to_approved_digest(walk.inventory, walk.rules),
        following=status.following,
        needs=status.needs,
        done=status.done,
        open=status.open,
        stops=status.stops,
        back=status.back,
        said_last=status.said_last,
        cost_query=status.cost_query,
        to_sign=to_commands(statement, approvals_folder) if is_signed else "",
    )


def to_taken_result(taken: Taken) -> DecommissionTakenResult:
    """Returns the answer of one call of `decommission next`.

    Raises: DecommissionHeld: a gate refuses, or would refuse, or something is lost.
    """
    result = DecommissionTakenResult(
        name=taken.name,
        before=taken.before,
        state=taken.state,
        refusals=taken.refusals,
        acts=taken.acts,
        lost=taken.lost,
        evidence=taken.evidence,
        dry_run=taken.dry_run,
        inventory=taken.digest,
    )
    if result.refusals or result.lost:
        raise DecommissionHeld(result)
    return result
