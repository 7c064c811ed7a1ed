"""A decommission from the inventory to the bill, by the real adapters against the strict endpoint.

It shows what the walk changes, how each fault at each act ends, and what an undo leaves. `make test-decommission` runs
it, with google-cloud-run.
"""

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.google.decommission.cloud_run import CloudRun
from switchyard.clients.google.decommission.cloud_sql import CloudSql
from switchyard.core.decommission.cloud import Cloud
from switchyard.core.decommission.resources import Kind, Operation, Progress, Resource
from switchyard.core.decommission.states import State
from switchyard.core.errors import StaleWrite, SwitchyardError, TryAgain
from tests.clients.google.decommission.cases import CASES
from tests.emulators.faults import Fault
from tests.emulators.google.project import EMAIL
from tests.emulators.google.world import find_changed
from tests.services.decommission_endpoint import EndpointWorld, open_world
from tests.services.decommission_world import Killed

pytestmark = [
    pytest.mark.needs_google_run,
    pytest.mark.skipif(find_spec("google.cloud.run_v2") is None, reason="make test-decommission sets it up"),
    pytest.mark.timeout(300),
]

OWN = [re.compile(pattern) for case in CASES for pattern in case.own]
"""What of a snapshot belongs to the deployment, but for what the cases name one of."""
FAULTS: dict[str, dict[str, Any]] = {
    "403": {"status": 403},
    "404": {"status": 404},
    "409": {"status": 409},
    "429": {"status": 429},
    "500": {"status": 500},
    "503 after its effect": {"status": 503, "after": True},
    "no answer": {"broken": True},
    "a lost answer": {"broken": True, "after": True},
    "an operation that ends in error": {"error": "INTERNAL"},
}
READS = re.compile(r"\.(get|list|getIamPolicy|testIamPermissions|query|getQueryResults|wait)$|\.(get|[Ll]ist)[A-Z]")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EndpointWorld]:
    with open_world(tmp_path) as made:
        yield made


def walk(world: EndpointWorld, until: State) -> list[str]:
    """On to `until`, each command again while something is in its way; what was said on the way."""
    said = []
    for _ in range(60):
        try:
            if world.ports.decommissions.find("mlflow") is None:
                world.plan(sought=world.sought)
            taken = world.next(**world.confirm())
        except SwitchyardError as err:
            said.append(f"{type(err).__name__}: {err}")
            world.wait(3_600 if isinstance(err, TryAgain) else 60)
            continue
        said += taken.refusals
        if taken.state is until:
            return said
        if taken.refusals:
            world.wait(3_600)
    raise AssertionError(said)


def look(world: EndpointWorld) -> dict[str, Any]:
    """What there is, without what every change renews; backups and revisions by number alone."""
    found = world.project.world.snapshot()
    kept = {
        name: _plain(item)
        for name, item in found.items()
        if not re.match(r"sqladmin/backups|run/revisions|iam/deleted|[a-z]+/operations", name)
    }
    return {re.sub(r"[0-9a-f]{8}-0000-4000-8000-[0-9a-f]{12}", "<id>", name): item for name, item in kept.items()}


_RENEWED = re.compile(
    "etag|generation|observedGeneration|metageneration|settingsVersion|updateTime|updated|createTime|timeCreated|uid|id"
    "|latestReadyRevision|latestCreatedRevision|revision|lastModifier|terminalCondition|conditions|name|selfLink"
    "|destroyTime|scheduledDestroyTime|softDeleteTime|hardDeleteTime|oauth2ClientId|uniqueId|.*Time"
)


def _plain(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _plain(value) for key, value in sorted(item.items()) if not _RENEWED.fullmatch(key)}
    return [_plain(one) for one in item] if isinstance(item, list) else item


def test_a_walk_from_the_inventory_to_the_bill_changes_only_what_its_plan_lists(world: EndpointWorld) -> None:
    """The whole project is compared, before and after, and a dry run of each state changes nothing at all.

    The final backup is there."""
    before = world.project.world.snapshot()
    planned = world.plan(sought=world.sought)
    assert world.project.world.snapshot() == before
    assert len(planned.plan.lines) >= 13
    while world.walk.state is not State.COST_CHECKED:
        wanted = world.confirm()
        for service in world.project.world.services:
            service.settle()  # what Google keeps for some days goes by itself
        here, steps = world.project.world.snapshot(), len(world.steps)
        refusals = world.next(dry_run=True, **wanted).refusals
        assert len(refusals) <= (world.walk.state is State.VERIFIED), refusals  # a dry run does not drill
        assert (find_changed(here, world.project.world.snapshot()), len(world.steps)) == (set(), steps)
        taken = world.next(**wanted)
        assert not taken.refusals
        if not taken.acts:
            assert find_changed(here, world.project.world.snapshot()) == set(), taken.state
    changed = find_changed(before, world.project.world.snapshot())
    nightly = next(name for name, item in before.items() if item.get("name") == "mlflow-nightly")
    listed = {nightly, "run/jobs/projects/acme-ml/locations/europe-west1/jobs/train"}
    foreign = [name for name in changed - listed if not any(pattern.fullmatch(name) for pattern in OWN)]
    assert foreign == []
    policy = world.project.policies.policies["project/acme-ml"]
    assert {"role": "roles/owner", "members": ["user:owner@example.com"]} in policy["bindings"]
    assert EMAIL not in str(policy)
    assert not [name for name in [*world.project.secrets.secrets, *world.project.secrets.versions] if "mlflow" in name]
    finals = [one for one in world.project.sql.backups.values() if one["type"] == "FINAL"]
    assert [one["state"] for one in finals] == ["SUCCESSFUL"]


def test_a_neighbour_that_needs_the_account_or_the_secret_holds_the_walk(world: EndpointWorld) -> None:
    """A job that runs as the account, and a service that mounts the secret as a file."""
    run = world.project.run
    job = run.plant_job("us-central1", "audit", template={"template": {"serviceAccount": EMAIL}})
    volume = {"name": "v", "secret": {"secret": "mlflow-password"}}
    service = run.plant_service("us-central1", "reader", template={"volumes": [volume]})
    shown = [user for line in world.plan(sought=world.sought).plan.lines for user in line.users]
    refusals = world.next().refusals
    assert len(shown) == 2
    assert set(shown) == set(refusals)
    assert {f"Job {job}", f"Service {service}"} == {" ".join(refusal.split()[:2]) for refusal in refusals}


def list_acts(folder: Path) -> list[tuple[str, str]]:
    """Each call that changes something, in a walk without a fault: its kind and its number of that kind."""
    folder.mkdir()
    with open_world(folder) as world:
        walk(world, State.COST_CHECKED)
        return [(call.method.id, call.path) for call in world.project.world.log if not READS.search(call.method.id)]


def run_with(folder: Path, fault: Fault | None) -> tuple[dict[str, Any], list[str], int]:
    folder.mkdir()
    with open_world(folder) as world:
        if fault:
            world.project.world.faults.order(fault)
        said = walk(world, State.COST_CHECKED)
        return look(world), said, len([one for one in world.steps if one.outcome == "done" and one.act == "delete"])


def try_faults(folder: Path, choose: Callable[[int, str], bool]) -> None:
    acts = sorted(set(list_acts(folder / "acts")))
    assert len(acts) >= 20
    whole, said, deleted = run_with(folder / "whole", None)
    assert said == []
    tried = 0
    for number, (kind, path) in enumerate(acts):
        for name, fault in FAULTS.items():
            if not choose(number, name):
                continue
            tried += 1
            found, _, count = run_with(folder / f"{number}-{name[:3]}-{tried}", Fault(kind=kind, target=path, **fault))
            assert (found, count) == (whole, deleted), (kind, path, name)
    assert tried


@pytest.mark.parametrize("name", FAULTS)
def test_a_walk_that_meets_a_fault_ends_as_one_without(tmp_path: Path, name: str) -> None:
    """Each kind of fault at two of the acts; `make test-decommission-slow` tries each at each."""
    place = list(FAULTS).index(name)
    try_faults(tmp_path, lambda number, fault: fault == name and number % 12 == place)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_at_each_act_ends_as_a_walk_without(tmp_path: Path, name: str) -> None:
    """All of them: hours of other people's trouble in minutes."""
    try_faults(tmp_path, lambda _number, fault: fault == name)


@pytest.mark.parametrize("state", [State.SOFT_STOPPED, State.APPROVED])
def test_an_undo_after_the_stop_makes_everything_what_it_was(world: EndpointWorld, state: State) -> None:
    """But for more backups and longer delays, which harm no one."""
    before = look(world)
    walk(world, state)
    assert look(world) != before
    taken = world.undo()
    assert (taken.state, taken.lost) == (State.UNDONE, ())
    world.project.world.finish()
    differing = {name for name in before if look(world).get(name) != before[name]}
    assert {name.partition("/")[0] for name in differing} <= {"sqladmin", "secretmanager", "storage"}, differing
    again = world.plan(sought=world.sought)
    assert [line.name for line in again.plan.lines if not line.is_active] == []


@pytest.mark.parametrize("state", [State.DELETING, State.GONE])
def test_an_undo_after_the_deletion_brings_back_what_google_keeps(world: EndpointWorld, state: State) -> None:
    """And makes the rest again: the same services, triggers, roles and variables as before."""
    before = look(world)
    walk(world, state)
    for _ in range(20):
        try:
            taken = world.undo()
            break
        except TryAgain:
            world.wait(600)
    assert taken.state is State.UNDONE
    world.project.world.finish()
    after = look(world)
    for api in (
        "run/services",
        "run/jobs",
        "cloudbuild",
        "sqladmin/instances",
        "iam/accounts",
        "policies/policy/project",
    ):
        assert {name for name in before if name.startswith(api)} <= after.keys(), api
    policy = "policies/policy/project/acme-ml"
    assert sorted(map(str, after[policy]["bindings"])) == sorted(map(str, before[policy]["bindings"]))
    assert {name.partition("#")[0] for name in after if "acme-mlflow" in name} >= {"storage/buckets/acme-mlflow"}


def undo(world: EndpointWorld) -> None:
    """The same command again, until it is through."""
    for _ in range(20):
        try:
            assert world.undo().lost == ()
        except TryAgain:
            world.wait(600)
        else:
            return
    raise AssertionError("it is never through")


def list_live(world: EndpointWorld) -> dict[str, str]:
    """The bucket's live objects and their checksums."""
    found = world.clouds.kinds[Kind.BUCKET].describe("projects/_/buckets/acme-mlflow").parts["objects"]
    return {one["name"]: one["crc32c"] for one in found if one["live"]}


def test_an_undo_of_half_a_deletion_brings_the_objects_back(world: EndpointWorld) -> None:
    """The bucket is still there, so that nothing but its objects shows what is missing."""
    before = list_live(world)
    walk(world, State.APPROVED)
    world.project.world.faults.order(Fault(kind="storage.objects.delete", nth=3, status=503))
    with pytest.raises(TryAgain):
        world.next(**world.confirm())
        world.wait(25 * 3_600)
        world.next(**world.confirm())
    assert list_live(world) != before
    undo(world)
    assert list_live(world) == before


def test_an_undo_that_was_broken_off_gives_a_redeployed_service_its_policy(world: EndpointWorld) -> None:
    """The service is there again with the first call, and its callers are let in by the second."""
    name = "run/projects/acme-ml/locations/europe-west1/services/mlflow"
    before = world.project.policies.policies[name]["bindings"]
    walk(world, State.GONE)
    world.project.world.faults.order(Fault(kind="run.projects.locations.services.setIamPolicy", status=503))
    with pytest.raises(TryAgain):
        world.undo()
    undo(world)
    assert world.project.policies.policies[name]["bindings"] == before


@pytest.mark.parametrize("state", [State.INVENTORY, State.APPROVED])
def test_an_object_that_came_since_the_inventory_is_never_deleted(world: EndpointWorld, state: State) -> None:
    """No one approved that, and an undo would not bring it back: told before the first act."""
    if state is State.INVENTORY:
        world.plan(sought=world.sought)
    else:
        walk(world, state)
    world.project.storage.plant_object("acme-mlflow", "2/new/model.keras")
    taken = world.next(**world.confirm())
    assert any("2/new/model.keras" in refusal for refusal in taken.refusals)
    assert not [call for call in world.project.world.log if call.method.id.endswith(".delete")]


def test_an_object_that_comes_during_the_deletion_is_left(
    world: EndpointWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket is read again right before its deletion, and the inventory says what of it may go."""
    walk(world, State.APPROVED)
    before = len(list_live(world))
    delete = CloudSql.delete

    def delete_while_someone_writes(cloud: CloudSql, resource: Resource) -> Operation:
        world.project.storage.plant_object("acme-mlflow", "2/new/model.keras")
        return delete(cloud, resource)

    monkeypatch.setattr(CloudSql, "delete", delete_while_someone_writes)
    with pytest.raises(StaleWrite, match=r"objects that were not there, such as 2/new/model\.keras"):
        world.next(**world.confirm())
    assert len(list_live(world)) == before + 1


@pytest.mark.parametrize(
    ("adapter", "is_noted"),
    [(CloudSql, True), (CloudSql, False), (CloudRun, True), (CloudRun, False)],
    ids=["an instance", "an instance, by a call whose answer was lost", "a service", "a service, by such a call"],
)
def test_an_undo_during_a_deletion_brings_back_what_is_being_deleted(
    world: EndpointWorld, monkeypatch: pytest.MonkeyPatch, adapter: Any, is_noted: bool
) -> None:
    """It is there until the deletion is over: who then only looks loses it."""
    walk(world, State.APPROVED)
    poll, delete = adapter.poll, adapter.delete

    def killed(cloud: Cloud, operation: Operation) -> Progress:
        raise Killed

    def delete_slowly(cloud: Cloud, resource: Resource) -> Operation:
        world.project.world.lag = 60
        begun: Operation = delete(cloud, resource)
        if not is_noted:
            raise Killed
        monkeypatch.setattr(adapter, "poll", killed)
        return begun

    monkeypatch.setattr(adapter, "delete", delete_slowly)
    before = list_servers(world)
    with pytest.raises(Killed):
        world.next(**world.confirm())
    monkeypatch.setattr(adapter, "poll", poll)
    world.project.world.lag = 2
    undo(world)
    world.project.world.finish()
    assert list_servers(world) == before


def list_servers(world: EndpointWorld) -> set[str]:
    """The services and instances that are there."""
    return {*world.project.run.services, *world.project.sql.instances}
