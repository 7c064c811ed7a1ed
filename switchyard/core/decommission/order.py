"""The acts of a decommission in their order.

Backups and delays first, then what can be started again, then what cannot. The account is stopped and deleted last:
the service runs by it. Source: docs/decommission.md has the reason of each place.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.resources import Kind, Resource

Verb = Literal["prepare", "stop", "delete", "sweep", "recover", "start"]

PREPARED: Final = (Kind.SQL_INSTANCE, Kind.SECRET, Kind.BUCKET)
"""Kinds that are prepared before any stop, because a deletion would take something for ever; a backup is made while the
instance still runs."""
STOPPED: Final = (
    Kind.BUILD_TRIGGER,  # or a push deploys the service again
    Kind.VARIABLE,
    Kind.RUN_SERVICE,
    Kind.SQL_INSTANCE,
    Kind.SECRET,
    Kind.SERVICE_ACCOUNT,
)
"""Buckets and bindings have no stop."""
DELETED: Final = (
    Kind.VARIABLE,
    Kind.BINDING,  # before the account, or the policies keep a member that is `deleted:`
    Kind.BUILD_TRIGGER,
    Kind.RUN_SERVICE,
    Kind.SECRET,
    Kind.SQL_INSTANCE,
    Kind.BUCKET,
    Kind.SERVICE_ACCOUNT,
)
SWEPT: Final = (Kind.SECRET,)
"""What a deletion leaves empty until a delay is over: deleted before, it would take its versions with it at once."""

FINAL_BACKUP_DAYS: Final = 30
"""The least number of days that an instance's final backup is kept."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One outside effect."""

    verb: Verb
    kind: Kind
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.resource}"


def list_stops(inventory: Inventory) -> tuple[Act, ...]:
    """Returns all preparations, then all stops."""
    prepared = _list_acts(inventory, "prepare", PREPARED)
    return (
        *(act for act in prepared if not is_replica(inventory.read(act.resource))),  # it has its primary's backups
        *_list_acts(inventory, "stop", STOPPED),
    )


def list_deletions(inventory: Inventory) -> tuple[Act, ...]:
    """Returns what is within something before that, replicas before their instance."""
    return _list_acts(inventory, "delete", DELETED)


def list_sweeps(inventory: Inventory) -> tuple[Act, ...]:
    """Returns what is left empty of what was deleted."""
    return _list_acts(inventory, "sweep", SWEPT)


def list_undo(begun: Sequence[Act]) -> tuple[Act, ...]:
    """Takes back what was `begun`, in reverse: what was deleted is brought back, what was stopped is started.

    What was prepared stays: more backups and longer delays harm no one.
    """
    deleted = dict.fromkeys((act.kind, act.resource) for act in begun if act.verb == "delete")
    stopped = dict.fromkeys((act.kind, act.resource) for act in begun if act.verb == "stop")
    return (
        *(Act(verb="recover", kind=kind, resource=name) for kind, name in reversed(deleted)),
        *(Act(verb="start", kind=kind, resource=name) for kind, name in reversed(stopped)),
    )


def find_owner(name: str) -> str:
    """Returns the resource that a variable or binding is part of; of any other the name itself.

    Two of one owner share its version.
    """
    return name.partition("#")[0]


def list_touched(inventory: Inventory, act: Act) -> tuple[str, ...]:
    """Returns the other resources that `act` may give a new version.

    Those of the same owner, and an instance that gets or loses a replica.
    """
    owner = find_owner(act.resource)
    is_of_set = act.kind is Kind.SQL_INSTANCE and act.verb in ("delete", "recover")
    return tuple(
        one.name
        for one in inventory.resources
        if one.name != act.resource and (find_owner(one.name) == owner or (is_of_set and one.kind is Kind.SQL_INSTANCE))
    )


def is_replica(resource: Resource) -> bool:
    """Returns True for an instance that follows another one.

    Source: `masterInstanceName` of the sqladmin API's DatabaseInstance.
    """
    return bool(resource.description.get("masterInstanceName"))


def to_final_backup_days(resource: Resource) -> int:
    """Returns how many days the final backup of an instance is kept: its own settings, at least `FINAL_BACKUP_DAYS`.

    Source: `finalBackupConfig` of the sqladmin API's Settings.
    """
    final = resource.description.get("settings", {}).get("finalBackupConfig", {})
    return max(FINAL_BACKUP_DAYS, int(final.get("retentionDays") or 0))


def list_replicas(resource: Resource) -> tuple[str, ...]:
    """Lists the short names of an instance's replicas.

    Source: `replicaNames` of the sqladmin API's DatabaseInstance.
    """
    found = resource.description.get("replicaNames", ())
    return tuple(name for name in found if isinstance(name, str)) if isinstance(found, list | tuple) else ()


def list_open_guards(resource: Resource, inventory: Inventory) -> tuple[str, ...]:
    """Lists what forbids a deletion and is not taken away by an earlier act.

    Replicas that the plan deletes first are not listed.
    """
    replicas = set(list_replicas(resource))
    planned = {one.name.rpartition("/")[2] for one in inventory.resources if one.kind is Kind.SQL_INSTANCE}
    if replicas and replicas <= planned:
        return tuple(guard for guard in resource.guards if "replica" not in guard.lower())
    return resource.guards


def _list_acts(inventory: Inventory, verb: Verb, kinds: Sequence[Kind]) -> tuple[Act, ...]:
    return tuple(
        Act(verb=verb, kind=kind, resource=resource.name)
        for kind in kinds
        for resource in sorted(
            (one for one in inventory.resources if one.kind is kind),
            key=lambda one: (not is_replica(one), one.name),
        )
    )
