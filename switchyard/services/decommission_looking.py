"""Reads what Google Cloud says of a deployment that is being taken away, as evidence. Changes nothing."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import msgspec

from switchyard.core.decommission.cloud import Cloud, Clouds
from switchyard.core.decommission.databases import Databases, find_database_problem, find_databases
from switchyard.core.decommission.evidence import (
    CostEvidence,
    FoundNow,
    GoneEvidence,
    InventoryEvidence,
    QuietEvidence,
    ResourceNow,
    StopEvidence,
    UseEvidence,
)
from switchyard.core.decommission.gates import Against, to_midnight_after
from switchyard.core.decommission.inventory import (
    Inventory,
    find_folder_problem,
    list_billed,
    list_newer,
)
from switchyard.core.decommission.order import STOPPED, SWEPT, is_replica, list_open_guards
from switchyard.core.decommission.progress import Progress
from switchyard.core.decommission.readers import EvidenceReader, Needed, Newest
from switchyard.core.decommission.requests import CONTROL, Control
from switchyard.core.decommission.resources import Activity, Caller, Cost, Found, Kept, Kind, Resource, Sought
from switchyard.core.decommission.rules import Rules, to_private_folder
from switchyard.core.decommission.states import State
from switchyard.core.decommission.users import UsedBy, find_users
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, to_message
from switchyard.core.ports import Decommissions, Objects

COST_DAYS = 30
"""The time before now of which costs are shown, before anything is touched."""


@dataclass(frozen=True)
class Site:
    """Holds all that one decommission works with."""

    open_clouds: Callable[[], Clouds]  # called at the first use: status and record need none
    decommissions: Decommissions
    objects: Callable[[str], Objects]
    private_objects: Callable[[str], Objects]  # for a folder that only its owner may read
    evidence: EvidenceReader
    clock: Callable[[], datetime]
    pause: Callable[[float], None]  # between two looks at an operation, in seconds

    @cached_property
    def clouds(self) -> Clouds:
        """Opens Google Cloud. Raises: BadSetup: its reader is not installed, or no identity is set."""
        return self.open_clouds()


def take_inventory(clouds: Clouds, sought: Sought) -> Inventory:
    """Returns all that there is, each resource with its own description.

    Raises: BadRequest: nothing was found; BadRecord: a control is not in its list; BadSetup: a permission is missing.
    """
    found = tuple(_find_whole(clouds.kinds[kind], sought) for kind in Kind)
    inventory = Inventory(sought=sought, found=found)
    if not inventory.resources:
        places = sorted({place for one in found for place in one.places})
        raise BadRequest(
            f"Nothing of this deployment was found in project {sought.project} ({', '.join(places)}). Name what to "
            "look for: switchyard decommission plan --names, --labels, --references"
        )
    return inventory


def _find_whole(cloud: Cloud, sought: Sought) -> Found:
    found = cloud.find(sought)
    described = []
    for listed in found.resources:
        if listed.activity is Activity.DELETED:  # it can still be brought back, and counts as gone
            continue
        one = describe(cloud, listed.name)
        if one is not None:
            described.append(
                msgspec.structs.replace(
                    one,
                    found_by=listed.found_by,
                    managed_by=one.managed_by or listed.managed_by,
                    guards=tuple(dict.fromkeys((*one.guards, *listed.guards))),
                )
            )
    return msgspec.structs.replace(found, resources=tuple(described))


def describe(cloud: Cloud, name: str) -> Resource | None:
    """Describes one resource; None: it is not there, by two answers, because one may be wrong."""
    with suppress(NotFound):
        return cloud.describe(name)
    try:
        return cloud.describe(name)
    except NotFound:
        return None


def read_inventory_evidence(
    site: Site, inventory: Inventory, progress: Progress, against: Against
) -> InventoryEvidence:
    """Returns whether all is as the inventory, or our own last act, left it, and whether anything is new since."""
    known = set(inventory.by_name)
    unlisted: list[str] = []
    without: list[Kind] = []
    now: list[ResourceNow | None] = []
    for kind, had in zip(Kind, inventory.found, strict=True):
        cloud = site.clouds.kinds[kind]
        found = cloud.find(inventory.sought)
        unlisted += [
            one.name for one in found.resources if one.name not in known and one.activity is not Activity.DELETED
        ]
        if had.resources and not had.control and had.listed <= len(had.resources):
            without.append(kind)
        now += [_to_now(cloud, saved, inventory, progress, asks=True) for saved in had.resources]
    return InventoryEvidence(
        inventory=against.inventory,
        read_at=site.clock(),
        resources=tuple(one for one in now if one is not None),
        unlisted=tuple(unlisted),
        without_control=tuple(without),
        folder_problems=list_problems(site, inventory, against.rules),
        users=list_users(site, inventory),
        databases=list_databases(site, inventory, progress),
    )


def list_databases(site: Site, inventory: Inventory, progress: Progress | None = None) -> tuple[Databases, ...]:
    """Returns what is on each instance now.

    An instance that does not run cannot be asked. It counts as the gate of the stop saw it, and before that as in the
    inventory. A deleted one holds nothing."""
    kept = progress.find_evidence("inventory", State.SOFT_STOPPED) if progress else None
    seen = {one.instance: one.names for one in kept.databases} if isinstance(kept, InventoryEvidence) else {}
    cloud = site.clouds.kinds[Kind.SQL_INSTANCE]

    def read(saved: Resource) -> Sequence[str] | None:
        fresh = describe(cloud, saved.name)
        if fresh is None:
            return ()
        held = fresh.parts.get("databases", seen.get(saved.name))
        return held if held is not None else saved.parts.get("databases")

    return find_databases(inventory, read, site.evidence.find_mlflow_address())


def list_users(site: Site, inventory: Inventory) -> tuple[UsedBy, ...]:
    """Returns what is not of the plan, and needs something of it, as it is now."""
    return find_users(inventory, site.clouds.users.list_needs(inventory.sought))


def list_problems(site: Site, inventory: Inventory, rules: Rules) -> tuple[str, ...]:
    """Returns what must outlive the deletion but would go with it: one sentence for each bucket or instance."""
    needed = [
        Needed(what="inventory", place=rules.folder_uri),
        Needed(what="values of variables", place=to_private_folder(rules)),
        Needed(what="export", place=rules.export_uri),
        *site.evidence.list_needed(),
    ]
    problems = (
        find_folder_problem(inventory, one.place, one.what) or find_database_problem(inventory, one.address, one.what)
        for one in needed
    )
    return tuple(dict.fromkeys(filter(None, problems)))


def read_stop_evidence(site: Site, inventory: Inventory, progress: Progress, against: Against) -> StopEvidence:
    """Reads back what was stopped and is not deleted yet, and the backups of instances."""
    there = [
        saved for saved in inventory.resources if saved.kind in STOPPED and not progress.is_begun("delete", saved.name)
    ]
    now = [_to_now(site.clouds.kinds[saved.kind], saved, inventory, progress, asks=False) for saved in there]
    return StopEvidence(
        inventory=against.inventory,
        read_at=site.clock(),
        resources=tuple(one for one in now if one is not None),
        backups=_read_backups(site, inventory),
    )


def _to_now(
    cloud: Cloud, saved: Resource, inventory: Inventory, progress: Progress, *, asks: bool
) -> ResourceNow | None:
    """Returns the resource as it is now; None: an act of ours has taken it away."""
    fresh = describe(cloud, saved.name)
    expected = progress.expected_version(saved.name)
    if fresh is not None and progress.is_unsettled(saved.name):
        expected = fresh.version  # an act of ours was interrupted; it goes first, and checks for itself
    is_there = fresh is not None and fresh.activity is not Activity.DELETED
    if not is_there and (
        progress.is_begun("delete", saved.name)
        or (saved.kind is Kind.VARIABLE and progress.is_begun("stop", saved.name))
    ):
        return None
    if fresh is None or not is_there:
        return ResourceNow(kind=saved.kind, name=saved.name, expected_version=expected, is_there=False)
    expected_id = progress.expected_id(saved.name)
    return ResourceNow(
        kind=saved.kind,
        name=saved.name,
        expected_version=expected,
        version=fresh.version,
        is_same=not expected_id or fresh.unique_id == expected_id,
        activity=fresh.activity,
        managed_by=fresh.managed_by,
        guards=list_open_guards(fresh, inventory),
        missing_permissions=cloud.list_missing_permissions(fresh) if asks else (),
        newer=list_newer(saved, fresh),
    )


def _read_backups(site: Site, inventory: Inventory) -> tuple[tuple[str, tuple[Kept, ...]], ...]:
    """Reads the backups of instances. A replica has its primary's."""
    cloud = site.clouds.kinds[Kind.SQL_INSTANCE]
    return tuple(
        (one.name, tuple(cloud.list_kept(one)))
        for one in inventory.resources
        if one.kind is Kind.SQL_INSTANCE and not is_replica(one)
    )


def read_quiet_evidence(site: Site, inventory: Inventory, against: Against, verified_at: datetime) -> QuietEvidence:
    """Reads what is newest in MLflow, and who asked its services."""
    newest: Newest = site.evidence.read_newest()
    until = site.clock()
    since = until - timedelta(days=against.rules.quiet_days)
    services = _list_services(inventory)
    return QuietEvidence(
        inventory=against.inventory,
        read_at=until,
        verified_at=verified_at,
        newest_run_at=newest.run_at,
        newest_run=newest.run_id,
        newest_point_at=newest.point_at,
        since=since,
        until=until,
        services=tuple(one.name for one in services),
        requests=sum(site.clouds.use.count_requests(one, since, until) for one in services),
        callers=_list_callers(site, services, since, until),
        edge=_count_edge(site, services, since),
        controls=_find_controls(site, services, since, until),
    )


def read_use_evidence(
    site: Site, inventory: Inventory, progress: Progress, against: Against, *, frozen_digest: str, looked_at: datetime
) -> UseEvidence:
    """Reads who asked since MLflow was looked at, and what was started since it was seen to be stopped.

    Our own operations are not starts: they came before a stop was read back, or are left out by name."""
    now = site.clock()
    services = _list_services(inventory)
    starts: list[str] = []
    for saved in inventory.resources:
        stopped_at = progress.find_done("stop", saved.name)
        if saved.kind not in (Kind.RUN_SERVICE, Kind.SQL_INSTANCE) or stopped_at is None:
            continue
        if not progress.is_begun("delete", saved.name):
            starts += site.clouds.use.list_starts(saved, stopped_at)
    return UseEvidence(
        inventory=against.inventory,
        read_at=now,
        stopped_at=progress.find_last("stop") or now,
        since=looked_at,
        frozen_digest=frozen_digest,
        callers=_list_callers(site, services, looked_at, now),
        services=tuple(one.name for one in services),
        requests=sum(site.clouds.use.count_requests(one, looked_at, now) for one in services),
        edge=_count_edge(site, services, looked_at),
        controls=_find_controls(site, services, looked_at, now),
        starts=tuple(start for start in starts if not any(name in start for name in progress.operations)),
    )


def read_gone_evidence(site: Site, inventory: Inventory, against: Against) -> GoneEvidence:
    """Asks for the whole lists of every kind again."""
    found = [_find_now(site.clouds.kinds[one.kind], one, inventory) for one in inventory.found]
    lists = {one.kind: one for one in found}
    bindings, variables = lists[Kind.BINDING].still_there, lists[Kind.VARIABLE].still_there
    deleted = tuple(name for name in bindings if "deleted:" in name)
    plain = {
        Kind.BINDING: tuple(name for name in bindings if name not in deleted),
        Kind.VARIABLE: (),
    }
    return GoneEvidence(
        inventory=against.inventory,
        read_at=site.clock(),
        found=tuple(msgspec.structs.replace(one, still_there=plain.get(one.kind, one.still_there)) for one in found),
        asked_places=inventory.sought.regions,
        controls=tuple(inventory.sought.controls),
        backups=_read_backups(site, inventory),
        deleted_members=deleted,
        variables=variables,
    )


def _find_now(cloud: Cloud, had: Found, inventory: Inventory) -> FoundNow:
    count = len(had.resources)
    try:
        found = cloud.find(inventory.sought)
    except BadRecord as err:  # its control, or a region, is not in the lists; the gate says so
        return FoundNow(kind=had.kind, had=count, listed=0, places=had.places, problem=to_message(err))
    return FoundNow(
        kind=had.kind,
        had=count,
        still_there=tuple(one.name for one in found.resources if one.activity is not Activity.DELETED),
        listed=found.listed,
        places=found.places,
        control=found.control,
        unseen=found.unseen,
        had_places=had.places,
    )


def read_cost_evidence(
    site: Site, inventory: Inventory, progress: Progress, against: Against, deleted_at: datetime
) -> CostEvidence:
    """Reads what was paid for each resource in the full days since the last deletion.

    What was kept then costs something in these days, even if it is over by now: a soft delete, a delay."""
    now = site.clock()
    since = to_midnight_after(deleted_at)
    until = max(since, datetime(now.year, now.month, now.day, tzinfo=UTC))
    now_kept = {one.name: site.clouds.kinds[one.kind].list_kept(one) for one in inventory.resources}
    kept = {name: (*of_one, *progress.list_kept(name)) for name, of_one in now_kept.items()}
    billed = list_billed(inventory, kept)
    costs, problem = None, ""
    try:
        costs = read_costs(site.clouds, billed, since, until) if until > since else None
    except (BadSetup, NotFound, BadRecord) as err:  # the gate says so
        problem = to_message(err)
    return CostEvidence(
        inventory=against.inventory,
        read_at=now,
        deleted_at=deleted_at,
        since=since,
        until=until,
        query=site.clouds.costs.to_query(billed, since, until),
        was_asked=costs is not None,
        problem=problem,
        costs=tuple(costs or ()),
        expected=tuple(dict.fromkeys(one.name for of_one in kept.values() for one in of_one if one.name)),
        waiting=tuple(
            (one.name, tuple(now_kept[one.name]))
            for one in inventory.resources
            if one.kind in SWEPT and now_kept[one.name]
        ),
        kept=tuple((name, tuple(dict.fromkeys(one.what for one in of_one))) for name, of_one in kept.items() if of_one),
    )


def read_costs(clouds: Clouds, resources: Sequence[Resource], since: datetime, until: datetime) -> list[Cost] | None:
    """Returns the costs; None: no billing export is named. Raises: as `CloudCosts.read` if one does not answer."""
    return list(clouds.costs.read(resources, since, until)) if clouds.costs.is_named else None


def _list_services(inventory: Inventory) -> list[Resource]:
    return [one for one in inventory.resources if one.kind is Kind.RUN_SERVICE]


def _list_callers(site: Site, services: Sequence[Resource], since: datetime, until: datetime) -> tuple[Caller, ...]:
    return tuple(caller for one in services for caller in site.clouds.use.list_callers(one, since, until))


def _count_edge(site: Site, services: Sequence[Resource], since: datetime) -> int:
    return sum(site.clouds.use.count_edge(one, since) for one in services)


def _find_controls(site: Site, services: Sequence[Resource], since: datetime, until: datetime) -> tuple[Control, ...]:
    """Looks for them in that time and the month before."""
    return tuple(site.clouds.use.find_control(one, since - CONTROL, until) for one in services)
