"""The plan that people read before anything is touched: each resource, what is done to it, and how it comes back."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from switchyard.core.decommission.databases import Databases, list_database_refusals
from switchyard.core.decommission.gates import to_terraform_change
from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.order import (
    PREPARED,
    STOPPED,
    is_replica,
    list_deletions,
    list_open_guards,
    to_final_backup_days,
)
from switchyard.core.decommission.resources import Activity, Cost, Kind, Resource
from switchyard.core.decommission.rules import Rules, to_approved_digest
from switchyard.core.decommission.states import MOVES
from switchyard.core.decommission.users import UsedBy, list_refusals

_SHOWN: Final = 6
"""Places of a plan, in words; Google has more than forty."""


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What the acts do to one kind."""

    prepare: str = ""
    stop: str = ""
    delete: str
    back: str  # after the deletion


_WORDS: Final[Mapping[Kind, Words]] = {
    Kind.RUN_SERVICE: Words(
        stop="0 instances, requests from inside only",
        delete="with all its revisions",
        back="never by Google Cloud; undo deploys it again from its saved description",
    ),
    Kind.SQL_INSTANCE: Words(
        prepare="a backup now; backups are kept when the instance is deleted",
        stop="activation policy NEVER",
        delete="with its databases; a final backup is taken",
        back="for {days} days from the final backup, into an instance that is made again",
    ),
    Kind.BUILD_TRIGGER: Words(
        stop="disabled", delete="", back="never by Google Cloud; undo makes it again from its saved description"
    ),
    Kind.BUCKET: Words(
        prepare="deleted objects are kept for some days",
        delete="with all objects and all their versions",
        back="as long as its soft delete policy says (7 days by default), if no other bucket takes its name",
    ),
    Kind.SERVICE_ACCOUNT: Words(
        stop="disabled, also for tokens that are in use",
        delete="last of all, and a day after it was disabled at the earliest",
        back="for 30 days, by its unique id",
    ),
    Kind.SECRET: Words(
        prepare="versions are destroyed with a delay",
        stop="all versions disabled",
        delete="its versions; the last state deletes the rest, when they are destroyed",
        back="until the delay of its versions' destruction is over; its values are saved nowhere",
    ),
    Kind.VARIABLE: Words(
        stop="taken from the service, which gets a new revision",
        delete="it is gone since the stop",
        back="any time: undo sets it again",
    ),
    Kind.BINDING: Words(delete="taken from the policy", back="any time: undo gives the role again"),
}


class Others(msgspec.Struct, frozen=True, kw_only=True):
    """What is not of the plan, and would lose something by it."""

    users: tuple[UsedBy, ...] = ()
    databases: tuple[Databases, ...] = ()

    def list_users(self, resource: str, rules: Rules) -> tuple[str, ...]:
        """Returns those of that resource that were not given up, a sentence each."""
        return list_refusals([used for used in self.users if used.name == resource], rules.give_up)

    def list_databases(self, resource: str, rules: Rules) -> tuple[str, ...]:
        """Lists the databases on an instance, like `list_users`."""
        return list_database_refusals([one for one in self.databases if one.instance == resource], rules.give_up)


class PlanLine(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of the plan."""

    kind: Kind
    name: str
    found_by: tuple[str, ...]
    is_active: bool
    prepare: str = ""
    stop: str = ""
    delete: str = ""
    back: str = ""
    cost: str = ""  # what it cost in the time that was looked at; empty: not known
    guards: tuple[str, ...] = ()
    managed: str = ""  # the change to make, where something else manages it
    users: tuple[str, ...] = ()  # what else needs it, and was not given up
    databases: tuple[str, ...] = ()  # what else is on it, and was not given up


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan, in the order of the deletion."""

    digest: str
    approved: str  # what a person types to approve: the digest of inventory and rules
    project: str
    places: tuple[str, ...]
    lines: tuple[PlanLine, ...]
    states: tuple[tuple[str, str], ...]  # each state to come, and what holds it up
    folder_uri: str
    costs_unknown: str = ""  # why the billing export that is named did not answer

    @property
    def held(self) -> int:
        """Resources that a guard, another owner, another user or another database holds."""
        return sum(bool(line.guards or line.managed or line.users or line.databases) for line in self.lines)


def to_plan(
    inventory: Inventory,
    rules: Rules,
    costs: Sequence[Cost] = (),
    others: Others = Others(),  # noqa: B008 - frozen
    *,
    costs_unknown: str = "",
) -> Plan:
    """Returns what `switchyard decommission next` will do, state by state."""
    paid = {cost.resource: f"{cost.amount:.2f} {cost.currency}" for cost in costs}
    places = sorted({place for found in inventory.found for place in found.places if "/" not in place})
    return Plan(
        digest=(digest := inventory.digest),
        approved=to_approved_digest(digest, rules),
        project=inventory.sought.project,
        places=tuple(places),
        lines=tuple(
            msgspec.structs.replace(
                _to_line(inventory.read(act.resource), inventory, paid.get(act.resource, "")),
                users=others.list_users(act.resource, rules),
                databases=others.list_databases(act.resource, rules),
            )
            for act in list_deletions(inventory)
        ),
        states=tuple((state.value, move.stops) for state, move in MOVES.items()),
        folder_uri=rules.folder_uri,
        costs_unknown=costs_unknown,
    )


def to_text(plan: Plan) -> str:
    """Returns the plan in the form of `terraform plan`: ``~`` for what is changed, ``-`` for what is deleted."""
    lines = [f"Project {plan.project}; looked in {_say_places(plan.places)}.", ""]
    for line in plan.lines:
        lines += [f"  # {line.kind} {line.name}", f"    found by {', '.join(line.found_by) or 'nothing'}"]
        lines += [f"  ~ prepare  {line.prepare}"] if line.prepare else []
        if line.stop:
            lines.append(f"  ~ stop     {line.stop}" + ("" if line.is_active else "; it is stopped already"))
            lines.append("             back: undo starts it again")
        lines += [f"  - delete   {line.delete}".rstrip(), f"             back: {line.back}"]
        lines += [f"    cost     {line.cost} in the last 30 days"] if line.cost else []
        lines += [f"  ! guard    {guard}" for guard in line.guards]
        lines += [f"  ! managed  {line.managed}"] if line.managed else []
        lines += [f"  ! used     {user}" for user in line.users]
        lines += [f"  ! also     {database}" for database in line.databases]
        lines.append("")
    if plan.costs_unknown:
        lines += [f"What it costs is not known: the billing export does not answer: {plan.costs_unknown}", ""]
    stops = sum(bool(line.stop) and line.is_active for line in plan.lines)
    lines.append(
        f"Plan: {stops} to stop, {len(plan.lines)} to delete, {plan.held} held by a guard, a user, a database or "
        "Terraform."
    )
    lines.append("Nothing is changed yet. One state a call: switchyard decommission next")
    lines += [f"Inventory {plan.digest}", f"To approve (inventory and rules): {plan.approved}"]
    return "\n".join(lines)


def _say_places(places: Sequence[str]) -> str:
    more = len(places) - _SHOWN
    return (", ".join(places[:_SHOWN]) or "no place") + (f" and {more} more" if more > 0 else "")


def _to_line(resource: Resource, inventory: Inventory, cost: str) -> PlanLine:
    words = _WORDS[resource.kind]
    return PlanLine(
        kind=resource.kind,
        name=resource.name,
        found_by=resource.found_by,
        is_active=resource.activity is Activity.ACTIVE,
        prepare=words.prepare if resource.kind in PREPARED and not is_replica(resource) else "",
        stop=words.stop if resource.kind in STOPPED else "",
        delete=words.delete,
        back=words.back.format(days=to_final_backup_days(resource)),
        cost=cost,
        guards=list_open_guards(resource, inventory),
        managed=to_terraform_change(resource.kind, resource.name)
        if resource.managed_by == "terraform"
        else (f"by {resource.managed_by}" if resource.managed_by else ""),
    )
