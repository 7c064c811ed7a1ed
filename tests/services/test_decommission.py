"""A decommission, walked over a deployment in memory."""

import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from switchyard.core.decommission.databases import to_address
from switchyard.core.decommission.evidence import PublishedEvidence
from switchyard.core.decommission.inventory import read_inventory, to_digest, to_json
from switchyard.core.decommission.plan import to_text
from switchyard.core.decommission.readers import Needed
from switchyard.core.decommission.resources import (
    Activity,
    Caller,
    Cost,
    Found,
    Kept,
    Kind,
    Operation,
    Progress,
    Resource,
    Sought,
)
from switchyard.core.decommission.rules import to_approved_digest
from switchyard.core.decommission.states import MOVES, State
from switchyard.core.decommission.users import Need
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, StaleWrite, TryAgain
from switchyard.services import decommission
from switchyard.services.decommission_looking import take_inventory
from tests.core.decommission.world import (
    ACCOUNT,
    BUCKET,
    INSTANCE,
    NAMES,
    REGION,
    SECRET,
    SERVICE,
    SOUGHT,
    VARIABLE,
    make_evidence,
)
from tests.services.decommission_world import OTHERS, START, FakeCloud, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ports.close()


def test_the_walk_goes_from_the_inventory_to_the_bill(world: World) -> None:
    """One state a call; nothing that the plan does not list is touched."""
    before = world.google.look()
    planned = world.plan()
    assert planned.is_new
    seen = []
    while world.walk.state is not State.COST_CHECKED:
        taken = world.next(**world.confirm())
        assert not taken.refusals, taken.refusals
        seen.append(taken.state)
    assert seen == list(MOVES)
    left = world.google.look()
    assert left == {name: before[name] for _, name in OTHERS}
    with pytest.raises(BadRequest, match="decommission record"):
        world.next()
    verbs = [verb for verb, _ in world.google.writes]
    assert verbs == sorted(verbs, key=("prepare", "stop", "delete").index)
    assert world.google.writes[-1] == ("delete", ACCOUNT)


STATES = [State.INVENTORY, *MOVES]


def freeze(world: World) -> object:
    """All that a dry run must leave: every row, every file, all of Google Cloud."""
    files = {path.name: path.read_bytes() for path in world.folder.glob("decommission/*")}
    google = (dict(world.google.there), list(world.google.writes), dict(world.google.kept))
    walk = world.ports.decommissions.find("mlflow")
    return walk, world.steps, files, google


@pytest.mark.parametrize("state", [*STATES, None])
def test_a_dry_run_changes_nothing(world: World, state: State | None) -> None:
    """Neither a row nor a file nor a resource, whatever comes next."""
    if state is not None:
        world.plan()
        if state is not State.INVENTORY:
            world.go(state)
    before, effects = freeze(world), world.faults.count
    if state is None or state in (State.INVENTORY, State.VERIFIED):
        assert world.plan(dry_run=True).walk is None
    if state is not None:
        if state is not State.COST_CHECKED:
            taken = world.next(**world.confirm(), dry_run=True)
            assert taken.dry_run
            assert taken.state is state
        undone = world.undo(dry_run=True)
        assert bool(undone.acts) is (state not in STATES[:4])
        decommission.write_record(world.site, "mlflow", dry_run=True)
        decommission.read_status(world.site, "mlflow")
    assert freeze(world) == before
    assert world.faults.count == effects


def test_a_dry_run_says_what_would_be_done(world: World) -> None:
    """The acts in their order, or why none would be."""
    world.plan()
    world.go(State.QUIET)
    taken = world.next(dry_run=True)
    assert taken.acts[0].startswith("prepare sql instance")
    assert taken.acts[-1] == f"stop service account {ACCOUNT}"
    world.use.callers = [STRANGER]
    refused = world.next(dry_run=True)
    assert refused.acts == ()
    assert "python-requests" in refused.refusals[0]


def test_a_dry_run_does_not_drill(world: World) -> None:
    """A drill restores a database: it is no look."""
    world.plan()
    world.go(State.VERIFIED)
    taken = world.next(dry_run=True)
    assert taken.refusals == ("No evidence of drill was read. Run: switchyard decommission next",)
    assert "drill" not in world.evidence.asked


STRANGER = Caller(who="python-requests/2.32", requests=4, last_at=START)


@pytest.mark.parametrize("state", [State.SOFT_STOPPED, State.QUIET_AGAIN, State.APPROVED])
def test_undo_of_what_was_stopped_restores_all_that_was(world: World, state: State) -> None:
    """From every state before the deletion; then a new plan begins, and can be walked to its end."""
    before = world.google.look()
    world.plan()
    world.go(state)
    assert world.google.look() != before
    taken = world.undo()
    assert (taken.state, taken.lost) == (State.UNDONE, ())
    assert world.google.look() == before
    with pytest.raises(BadRequest, match="was undone"):
        world.next()
    with pytest.raises(BadRequest, match="undone already"):
        world.undo()
    assert world.plan().is_new
    assert (world.walk.walk, world.walk.state) == (2, State.INVENTORY)
    world.go(State.COST_CHECKED)


@pytest.mark.parametrize("state", [State.DELETING, State.GONE, State.COST_CHECKED])
def test_undo_of_a_deletion_restores_all_but_what_is_lost_for_good(world: World, state: State) -> None:
    """The secret's values are; everything else is there, and at work."""
    before = world.google.look()
    world.plan()
    world.go(state)
    taken = world.undo()
    (lost,) = taken.lost
    assert "was deleted for good" in lost
    assert world.google.look() == {name: one for name, one in before.items() if name != SECRET}
    assert world.walk.state is State.UNDONE


def answer_404(world: World, acts: dict[tuple[str, str], int]) -> None:
    """This holds for each act, though it could be done."""
    act = world.google.act

    def answer(verb: str, resource: Resource) -> Operation:
        if acts.get((verb, resource.name), 0):
            acts[(verb, resource.name)] -= 1
            raise NotFound(f"404: {resource.name}")
        return act(verb, resource)

    world.google.act = answer  # type: ignore[method-assign]


def test_one_odd_404_to_an_undo_is_asked_again(world: World) -> None:
    """By the same command, of each kind; what two of them name as lost is asked for by the next one."""
    before = world.google.look()
    world.plan()
    world.go(State.DELETING)
    names = [name for kind, of_kind in NAMES.items() if kind is not Kind.SECRET for name in of_kind]
    saved = world.save()
    answer_404(world, {("recover", name): 1 for name in names})
    assert len(world.undo().lost) == 1
    assert world.google.look() == {name: one for name, one in before.items() if name != SECRET}
    world.load(saved)
    answer_404(world, odd := {("recover", name): 2 for name in names})
    taken = world.undo()
    assert (taken.state, len(taken.lost)) == (State.UNDONE, 1 + len(names))
    assert all("To ask for it again: switchyard decommission undo" in one for one in taken.lost)
    assert not any(odd.values())
    assert world.undo(dry_run=True).acts
    assert len(world.undo().lost) == 1
    assert world.google.look() == {name: one for name, one in before.items() if name != SECRET}


def test_a_404_beside_a_list_without_its_control_loses_nothing(world: World) -> None:
    """Another project answers so, or one without a permission: the undo is not over."""
    world.plan()
    world.go(State.DELETING)
    (control,) = [name for kind, name in OTHERS if kind is Kind.RUN_SERVICE]
    hidden = world.google.there.pop(control)
    answer_404(world, {("recover", SERVICE): 2})
    with pytest.raises(TryAgain, match="do not hold their control"):
        world.undo()
    assert world.walk.state is State.DELETING
    world.google.there[control] = hidden
    assert SERVICE not in "".join(world.undo().lost)


def test_what_goes_again_during_an_undo_is_brought_back_again(world: World) -> None:
    """A deletion that no list showed ends late."""
    world.plan()
    world.go(State.DELETING)
    act = world.google.act

    def end_late(verb: str, resource: Resource) -> Operation:
        if verb == "start" and not gone:
            gone.append(world.google.there.pop(SERVICE))
        return act(verb, resource)

    gone: list[Resource] = []
    world.google.act = end_late  # type: ignore[method-assign]
    with pytest.raises(TryAgain, match="brought back, and is gone again"):
        world.undo()
    assert (len(gone), world.walk.state) == (1, State.DELETING)
    world.undo()
    assert world.google.there[SERVICE].activity is Activity.ACTIVE


def test_an_operation_that_is_not_found_says_nothing_of_its_resource(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An undo looks at the resource again, and loses nothing."""
    before = world.google.look()
    world.plan()
    world.go(State.DELETING)
    poll, times = FakeCloud.poll, [1]

    def forget(cloud: FakeCloud, operation: Operation) -> Progress:
        if operation.resource == SERVICE and times:
            times.pop()
            raise NotFound("404: the operation")
        return poll(cloud, operation)

    monkeypatch.setattr(FakeCloud, "poll", forget)
    with pytest.raises(TryAgain, match="404: the operation"):
        world.undo()
    world.wait(60)
    while world.walk.state is not State.UNDONE:
        with suppress(TryAgain):
            world.undo()
    assert world.google.look()[SERVICE] == before[SERVICE]


def test_undo_before_anything_was_stopped_only_ends_the_walk(world: World) -> None:
    """Nothing is touched."""
    world.plan()
    world.go(State.QUIET)
    assert world.undo().acts == ()
    assert world.google.writes == []
    assert world.walk.state is State.UNDONE


def test_undo_goes_on_where_one_resource_cannot_be_started(world: World) -> None:
    """The others are; the trouble is told, and the same command tries again."""
    before = world.google.look()
    world.plan()
    world.go(State.SOFT_STOPPED)
    world.google.broken[("start", INSTANCE)] = BadSetup("403: cloudsql.instances.update is missing")
    with pytest.raises(BadSetup, match=r"cloudsql\.instances\.update"):
        world.undo()
    assert world.walk.state is State.SOFT_STOPPED
    different = [name for name, one in world.google.look().items() if one != before[name]]
    assert different == [INSTANCE]
    with pytest.raises(BadRequest, match="being undone"):
        world.next()
    world.google.broken.clear()
    world.undo()
    assert world.google.look() == before


def test_a_plan_that_finds_the_same_changes_nothing(world: World) -> None:
    """Another inventory begins a new walk, until something was stopped."""
    first = world.plan()
    world.go(State.VERIFIED)
    steps = world.steps
    again = world.plan()
    assert (again.is_new, again.walk, world.steps) == (False, world.walk, steps)
    assert world.walk.state is State.VERIFIED
    world.google.change(SERVICE, description={"changed": "by someone"})
    other = world.plan()
    assert other.is_new
    assert other.plan.digest != first.plan.digest
    assert (world.walk.walk, world.walk.state) == (2, State.INVENTORY)
    world.go(State.SOFT_STOPPED)
    with pytest.raises(BadRequest, match="has begun to stop things"):
        world.plan()


def test_the_inventory_is_saved_whole_before_anything_is_touched(world: World) -> None:
    """Descriptions, ids and versions, under the digest that people approve."""
    planned = world.plan()
    data = Path(planned.inventory_uri.removeprefix("file://")).read_bytes()
    saved = read_inventory(data, "here", digest=planned.plan.digest)
    assert saved.read(SERVICE).description == world.google.there[SERVICE].description
    assert {one.name for one in saved.resources} == set(world.google.there) - {name for _, name in OTHERS}
    Path(planned.inventory_uri.removeprefix("file://")).write_bytes(data.replace(b"v1", b"v2"))
    with pytest.raises(BadRecord, match="it was changed"):
        world.next()


PASSWORD = "s3cret-of-mlflow"
WITH_PASSWORDS = {
    "name": SERVICE,
    "template": {
        "containers": [
            {
                "args": ["server", "--backend-store-uri", f"postgresql://mlflow:{PASSWORD}@/mlflow"],
                "env": [
                    {"name": "MLFLOW_BACKEND_STORE_URI", "value": f"postgresql://mlflow:{PASSWORD}@/mlflow"},
                    {"name": "TOKEN", "valueSource": {"secretKeyRef": {"secret": "mlflow-password"}}},
                ],
            }
        ]
    },
}


def test_values_of_variables_are_only_where_their_owner_reads_them(world: World) -> None:
    """In no inventory, row, record or plan; and undo brings them back."""
    world.google.change(SERVICE, description=WITH_PASSWORDS)
    before = world.google.look()
    planned = world.plan()
    assert not world.plan().is_new
    world.go(State.GONE)
    world.undo()
    assert world.google.there[SERVICE].description == WITH_PASSWORDS
    assert set(before) - {SECRET} == set(world.google.look())
    _, files = decommission.write_record(world.site, "mlflow")
    world.ports.close()
    holds = {
        str(path.relative_to(world.folder)): stat.S_IMODE(path.parent.stat().st_mode)
        for path in world.folder.rglob("*")
        if path.is_file() and PASSWORD.encode() in path.read_bytes()
    }
    apart = f"decommission/private/values-{planned.plan.digest[7:]}.json"
    assert holds == {apart: 0o700}
    assert PASSWORD not in repr((planned, world.rules))
    assert len(files) == 2


def test_without_the_values_of_variables_nothing_is_stopped(world: World) -> None:
    """No one could bring the service back."""
    world.google.change(SERVICE, description=WITH_PASSWORDS)
    world.plan()
    world.go(State.QUIET)
    (file,) = (world.folder / "decommission" / "private").iterdir()
    data = file.read_bytes()
    for planted in (b"{}", data.replace(b'"env"', b'"command"'), None):
        if planted is None:
            file.unlink()
        else:
            file.write_bytes(planted)
        with pytest.raises(BadRecord, match=r"private/values-"):
            world.next()
    assert world.google.writes == []
    file.write_bytes(data)
    file.parent.chmod(0o755)
    with pytest.raises(BadSetup, match="chmod 700"):
        world.next()
    file.parent.chmod(0o700)
    assert world.next().state is State.SOFT_STOPPED


def test_an_inventory_of_before_is_still_walked(world: World) -> None:
    """Its values are in itself."""
    world.google.change(SERVICE, description=WITH_PASSWORDS)
    whole = take_inventory(world.clouds, SOUGHT)
    data = to_json(msgspec.structs.replace(whole, format=1))
    planned = world.plan()
    folder = world.folder / "decommission"
    (folder / f"inventory-{to_digest(data)[7:]}.json").write_bytes(data)
    walk = msgspec.structs.replace(world.walk, inventory=to_digest(data), walk=2)
    world.ports.decommissions.begin(walk, revision=world.walk.revision)
    Path(planned.inventory_uri.removeprefix("file://")).unlink()
    world.go(State.SOFT_STOPPED)
    world.undo()
    assert world.google.there[SERVICE].description == WITH_PASSWORDS


def test_a_plan_of_nothing_is_refused(world: World) -> None:
    """An empty inventory would pass every gate."""
    nothing = msgspec.structs.replace(SOUGHT, names={})
    with pytest.raises(BadRequest, match="Nothing of this deployment"):
        world.plan(sought=nothing)
    missing = msgspec.structs.replace(SOUGHT, controls={Kind.BUCKET: "not there"})
    with pytest.raises(BadRecord, match="control"):
        world.plan(sought=missing)
    assert world.ports.decommissions.find("mlflow") is None


def test_what_switchyard_itself_needs_is_not_deleted(world: World) -> None:
    """Neither by a plan, nor where it came there since; a wrong place stops all that follows."""
    needed = [
        Needed(what="folder ARTIFACTS_URI", place="gs://mlflow-artifacts/switchyard"),
        Needed(what="model shop version 3", place="gs://mlflow-artifacts/1/model"),
    ]
    world.evidence.needed = needed
    with pytest.raises(BadRequest, match=r"folder ARTIFACTS_URI is at .*model shop version 3 is at"):
        world.plan()
    assert world.ports.decommissions.find("mlflow") is None
    world.evidence.needed = []
    world.plan()
    world.go(State.QUIET)
    world.evidence.needed = needed
    assert [refusal.split(" is at")[0] for refusal in world.next().refusals] == [f"The {one.what}" for one in needed]
    assert world.google.writes == []


@pytest.mark.parametrize(
    ("state", "silent", "said"),
    [
        (State.EXPORTED, {"logged_at": None}, "its request log has no entry"),
        (State.EXPORTED, {"counted": 0}, "its metric request_count has no request"),
        (State.SOFT_STOPPED, {"logged_at": None}, "its request log has no entry"),
    ],
)
def test_silence_of_a_log_or_a_metric_that_never_says_anything_is_no_quiet(
    world: World, state: State, silent: dict[str, object], said: str
) -> None:
    """A filter that is wrong, or a sink that is off, answers the same as no one who asks."""
    world.plan()
    world.go(state)
    wanted = world.confirm()
    for name, value in silent.items():
        setattr(world.use, name, value)
    assert any(said in refusal for refusal in world.next(**wanted).refusals)
    assert world.walk.state is state
    world.use.logged_at, world.use.counted = START, 1
    assert world.next(**wanted).refusals == ()


def test_what_is_not_proved_to_be_gone_is_in_the_evidence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no list shows is said; and lists that prove nothing are a refusal, with or without a control."""
    world.plan()
    world.go(State.DELETING)
    find = FakeCloud.find

    def find_part(cloud: FakeCloud, sought: Sought) -> Found:
        return msgspec.structs.replace(find(cloud, sought), unseen=("regional secrets",))

    monkeypatch.setattr(FakeCloud, "find", find_part)
    taken = world.next(dry_run=True, **world.confirm())
    assert all(list(one["unseen"]) == ["regional secrets"] for one in taken.evidence["gone"]["found"])

    def find_nothing(cloud: FakeCloud, sought: Sought) -> Found:
        raise BadRecord("the regions of Cloud Run", ["'r' is not among the 0 listed"])

    monkeypatch.setattr(FakeCloud, "find", find_nothing)
    refusals = world.next(**world.confirm()).refusals
    assert [kind for kind in Kind if not any(f"every {kind} proves nothing" in said for said in refusals)] == []


def test_a_region_that_only_the_inventory_knew_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not one of `--regions`, and what lay there may be there still."""
    find, places = FakeCloud.find, ["europe-west1", "asia-east1"]

    def find_in(cloud: FakeCloud, sought: Sought) -> Found:
        return msgspec.structs.replace(find(cloud, sought), places=tuple(places))

    monkeypatch.setattr(FakeCloud, "find", find_in)
    world.plan()
    world.go(State.DELETING)
    places.remove("asia-east1")
    refusals = world.next().refusals
    regional = (Kind.RUN_SERVICE, Kind.BUILD_TRIGGER, Kind.VARIABLE)
    assert [said.split(".")[0] for said in refusals] == [
        f"The list of every {kind} was not asked in asia-east1" for kind in regional
    ]
    places.append("asia-east1")
    assert world.next().state is State.GONE


REPORT = f"{REGION}/jobs/report"


def needs(kind: Kind, name: str) -> Need:
    return Need(
        by=REPORT, sort="job", how="runs as" if kind is Kind.SERVICE_ACCOUNT else "mounts", name=name, kind=kind
    )


def test_what_else_needs_an_account_or_a_secret_is_shown_and_holds_the_walk(world: World) -> None:
    """By name, in the plan and in each gate before the stop; until it is switched over, or given up by name."""
    world.users.needs = [
        needs(Kind.SERVICE_ACCOUNT, ACCOUNT.rpartition("/")[2]),
        needs(Kind.SECRET, "mlflow-password"),
    ]
    lines = {line.name: line.users for line in world.plan().plan.lines if line.users}
    assert set(lines) == {ACCOUNT, SECRET}
    refusals = world.next().refusals
    assert [refusal.split(", which")[0] for refusal in refusals] == [
        f"Job {REPORT} mounts secret {SECRET} as files",
        f"Job {REPORT} runs as service account {ACCOUNT}",
    ]
    world.rules = msgspec.structs.replace(world.rules, give_up=(REPORT,))
    assert not any(line.users for line in world.plan().plan.lines)
    assert world.next().state is State.VERIFIED


@pytest.mark.parametrize("state", [State.SOFT_STOPPED, State.DELETING])
@pytest.mark.parametrize(("kind", "name"), [(Kind.SERVICE_ACCOUNT, ACCOUNT), (Kind.SECRET, SECRET)])
def test_what_came_to_need_it_since_the_gate_stops_the_act_that_would_hurt(
    world: World, state: State, kind: Kind, name: str
) -> None:
    """Everything is looked at again right before that act; what came before it is done."""
    world.plan()
    world.go(State.QUIET if state is State.SOFT_STOPPED else State.APPROVED)
    verb = "stop" if state is State.SOFT_STOPPED else "delete"
    wanted = world.confirm()
    list_needs, before = world.users.list_needs, len(world.google.writes)

    def list_later(sought: Sought) -> tuple[Need, ...]:
        has_begun = len(world.google.writes) > before
        return (needs(kind, name.rpartition("/")[2]),) if has_begun else list_needs(sought)

    world.users.list_needs = list_later  # type: ignore[method-assign] # someone else's change, between two acts
    taken = world.next(**wanted)
    assert any(f"Job {REPORT}" in refusal and name in refusal for refusal in taken.refusals)
    assert (verb, name) not in world.google.writes
    assert len(world.google.writes) > before
    assert world.walk.state is not state


def hold(world: World, *databases: str) -> None:
    world.google.there[INSTANCE] = msgspec.structs.replace(
        world.google.there[INSTANCE], parts={"databases": ["mlflow", "postgres", *databases]}
    )


def test_another_database_on_the_instance_is_shown_and_holds_the_walk(world: World) -> None:
    """Until it is given up by name: the instance goes whole."""
    hold(world, "shop")
    (line,) = (line for line in world.plan().plan.lines if line.databases)
    assert line.name == INSTANCE
    (refusal,) = world.next().refusals
    assert refusal.startswith(f"Database shop is on sql instance {INSTANCE}")
    assert refusal in line.databases
    world.rules = msgspec.structs.replace(world.rules, give_up=("mlflow-db/shop",))
    assert not any(line.databases for line in world.plan().plan.lines)
    assert world.next().state is State.VERIFIED


def test_a_database_that_came_since_the_gate_stops_the_stop_of_its_instance(world: World) -> None:
    """The last moment at which an instance says what it holds."""
    world.plan()
    world.go(State.QUIET)
    act = world.google.act

    def act_while_someone_creates(verb: str, resource: Resource) -> Operation:
        if (verb, resource.kind) == ("stop", Kind.RUN_SERVICE):
            hold(world, "shop")
        return act(verb, resource)

    world.google.act = act_while_someone_creates  # type: ignore[method-assign] # someone else's change, between two acts
    taken = world.settle()
    assert any("Database shop" in refusal for refusal in taken.refusals)
    assert ("stop", INSTANCE) not in world.google.writes
    assert ("stop", SERVICE) in world.google.writes


def test_what_an_instance_held_when_it_was_stopped_counts_until_it_is_deleted(world: World) -> None:
    """It says nothing any more then; a database that was dropped after the plan is no longer there."""
    hold(world, "old")
    world.plan()
    hold(world)
    world.go(State.APPROVED)
    world.google.there[INSTANCE] = msgspec.structs.replace(world.google.there[INSTANCE], parts={})
    assert world.next(**world.confirm()).refusals == ()


def test_a_results_database_on_the_instance_is_refused_whatever_is_given_up(world: World) -> None:
    """Also where only its socket's path says so."""
    world.google.there[INSTANCE] = msgspec.structs.replace(
        world.google.there[INSTANCE], description={"connectionName": "shop-1:europe-west1:mlflow-db"}
    )
    hold(world, "switchyard")
    world.rules = msgspec.structs.replace(world.rules, give_up=("mlflow-db/switchyard",))
    for url in ("postgresql:///x?host=/cloudsql/shop-1:europe-west1:mlflow-db", "postgresql://127.0.0.1/switchyard"):
        world.evidence.needed = [Needed(what="database RESULTS_URL", address=to_address(url))]
        with pytest.raises(BadRequest, match="database RESULTS_URL is"):
            world.plan()


@pytest.mark.parametrize(
    ("state", "name", "planted", "said"),
    [
        (State.INVENTORY, "verify", {"failed": 2}, "2 runs failed"),
        (State.INVENTORY, "published", {"runs": ()}, "there are 0"),
        (State.INVENTORY, "kept", {"counted": False}, "--give-up"),
        (State.VERIFIED, "export", {"runs": 1}, "has 1 runs"),
        (State.VERIFIED, "drill", {"equal_runs": 0}, "3 of 3 runs differ"),
        (State.QUIET, "verify", {"unseen": ("a" * 32,), "mlflow_runs": 41}, "does not name"),
    ],
)
def test_a_refusal_is_stored_and_leaves_the_state(
    world: World, state: State, name: str, planted: dict[str, object], said: str
) -> None:
    """With the evidence that it rests on; once that is right, the same command goes on."""
    world.plan()
    if state is not State.INVENTORY:
        world.go(state)
    world.evidence.planted[name] = planted
    taken = world.next()
    assert any(said in refusal for refusal in taken.refusals)
    assert world.walk.state is state
    assert world.google.writes == []
    last = world.steps[-1]
    assert (last.act, last.outcome) == ("gate", "refused")
    assert said in decommission.read_status(world.site, "mlflow").said_last
    assert name in taken.evidence
    world.evidence.planted.clear()
    assert world.next().refusals == ()


CHANGES = [State.QUIET, State.APPROVED]


@pytest.mark.parametrize("state", CHANGES)
def test_a_resource_that_someone_changes_between_two_acts_stops_the_walk(world: World, state: State) -> None:
    """By name, before it is touched: whichever it is."""
    world.plan()
    world.go(state)
    saved = world.save()
    world.next(**world.confirm())
    verb = "stop" if state is State.QUIET else "delete"
    acts = [act for act in world.google.writes if act[0] == verb]
    assert len(acts) >= 6
    for _, name in acts[1:]:
        world.load(saved)
        meddle(world, acts[0], name)
        with pytest.raises(StaleWrite, match=r"was changed by someone|is gone"):
            world.next(**world.confirm())
        assert (verb, name) not in world.google.writes
        step = [step for step in world.steps if step.outcome == "stopped"][-1]
        assert name in step.proof


def meddle(world: World, after: tuple[str, str], name: str) -> None:
    """Right after that act, someone changes that resource."""
    cloud = type(world.google).act

    def act(verb: str, resource: Resource) -> Operation:
        found = cloud(world.google, verb, resource)
        if (verb, resource.name) == after:
            world.google.change(name, description={"changed": "by someone"})
        return found

    world.google.act = act  # type: ignore[method-assign]


def test_a_run_that_comes_during_the_stop_is_not_overlooked(world: World) -> None:
    """Someone asked the service after MLflow was looked at: the stop does not go on, and can be taken back."""
    before = world.google.look()
    world.plan()
    world.go(State.QUIET)
    world.faults.at, world.faults.error = world.faults.count + 12, TryAgain("503")
    with pytest.raises(TryAgain):
        world.next()
    world.use.callers = [STRANGER]
    taken = world.next()
    assert "python-requests/2.32 still asks" in taken.refusals[0]
    assert world.walk.state is State.QUIET
    world.undo()
    assert world.google.look() == before


def test_the_last_runs_and_what_is_kept_are_asked_for_again_before_the_stop(world: World) -> None:
    """A run that needed MLflow may have come since they were verified."""
    world.plan()
    world.go(State.QUIET)
    published = make_evidence()["published"]
    assert isinstance(published, PublishedEvidence)
    first, *others = published.runs
    world.evidence.planted["published"] = {"runs": (msgspec.structs.replace(first, source="mlflow"), *others)}
    world.evidence.planted["kept"] = {"counted": False}
    said = " ".join(world.next().refusals)
    assert "was published from mlflow" in said
    assert "whether MLflow's artifacts are kept" in said
    assert world.google.writes == []


def test_what_mlflow_said_last_is_frozen_before_the_first_stop(world: World) -> None:
    """It has its digest, and nothing asks MLflow afterwards."""
    world.plan()
    world.go(State.SOFT_STOPPED)
    asked = list(world.evidence.asked)
    look = [step for step in world.steps if step.act == "look"][-1]
    first = next(step for step in world.steps if step.act in ("prepare", "stop"))
    assert look.seq < first.seq
    frozen = msgspec.json.decode(look.evidence)
    assert sorted(frozen) == ["drill", "export", "quiet", "verify"]
    world.go(State.COST_CHECKED)
    assert world.evidence.asked == asked
    use = world.steps[-1]
    assert use.outcome in ("passed", "done")


def test_seven_days_of_quiet_are_waited_for(world: World) -> None:
    """And what was started in them is named; our own operations are no starts."""
    world.plan()
    world.go(State.SOFT_STOPPED)
    assert "7 days of quiet end at" in world.next().refusals[0]
    world.now += timedelta(days=8)
    ours = next(step.operation for step in world.steps if step.operation)
    world.use.starts = [f"UPDATE {ours} by our account", "revision mlflow-2 by ann"]
    refusals = world.next().refusals
    assert [refusal for refusal in refusals if "started" in refusal] == [
        "Something was started since: revision mlflow-2 by ann. Find who needs it, then run: switchyard decommission "
        "undo"
    ]
    world.use.starts = []
    assert world.next().state is State.QUIET_AGAIN


def test_nothing_is_deleted_without_the_digest(world: World) -> None:
    """Typed whole; another one counts for nothing, and one that was typed counts for a day."""
    world.plan()
    world.go(State.QUIET_AGAIN)
    assert "0 of 1 approvals" in world.next().refusals[-1]
    assert world.next(confirm="sha256:" + "0" * 64).refusals
    approved = to_approved_digest(world.walk.inventory, world.walk.rules)
    assert world.next(confirm=approved[:18]).refusals
    assert "without the rules" in world.next(confirm=world.walk.inventory).refusals[0]
    assert world.next(confirm=approved[7:19]).state is State.APPROVED
    world.now += timedelta(hours=25)
    assert "expired" in world.next().refusals[0]
    assert not [act for act in world.google.writes if act[0] == "delete"]
    assert world.next(confirm=approved).state is State.DELETING


def test_a_caller_who_is_excused_after_the_approval_takes_it_away(world: World) -> None:
    """What was approved is a deletion by other rules: nothing is deleted until someone approves these."""
    world.plan()
    world.go(State.APPROVED)
    world.use.callers = [STRANGER]
    assert "--known-callers python-requests/2.32" in world.next().refusals[0]
    refused = world.next(known_callers=("python-requests/*",)).refusals
    assert any("rules were changed since" in refusal for refusal in refused)
    assert not [act for act in world.google.writes if act[0] == "delete"]
    assert world.next(**world.confirm()).state is State.DELETING


def test_a_permission_that_is_missing_is_said_before_the_first_act(world: World) -> None:
    """It is not said in the middle of them."""
    world.plan()
    world.go(State.QUIET)
    world.google.forbidden = {"run.services.delete"}
    taken = world.next()
    assert any("You may not run.services.delete" in refusal for refusal in taken.refusals)
    assert world.google.writes == []


def test_a_resource_that_comes_later_is_a_surprise(world: World) -> None:
    """It belongs to the deployment, and no one approved it."""
    world.plan()
    name = VARIABLE.replace("api#", "web#")
    world.google.there[name] = msgspec.structs.replace(world.google.there[VARIABLE], name=name)
    assert any(f"{name} belongs to the deployment" in refusal for refusal in world.next().refusals)


def test_of_two_calls_at_once_the_later_one_goes_on(world: World) -> None:
    """The earlier one writes nothing more, and touches nothing more."""
    world.plan()
    world.go(State.QUIET)
    cloud = type(world.google).act
    calls: list[str] = []

    def act(verb: str, resource: Resource) -> Operation:
        if not calls:
            calls.append(verb)
            world.ports.decommissions.hold("mlflow", revision=world.walk.revision)
        return cloud(world.google, verb, resource)

    world.google.act = act  # type: ignore[method-assign]
    with pytest.raises(StaleWrite, match="Another call went on"):
        world.next()
    assert len(world.google.writes) == 1
    assert world.settle().state is State.SOFT_STOPPED


def test_costs_are_compared_after_seven_full_days(world: World) -> None:
    """Where an export is named: what still costs something is named, and what the record saves is counted."""
    world.costs.costs = [Cost(resource=SERVICE, amount=30.0, currency="EUR")]
    world.plan()
    world.go(State.GONE)
    assert "7 full days end at" in world.next().refusals[0]
    world.now += timedelta(days=9)
    assert f"{SERVICE} still cost 30.00 EUR" in world.next().refusals[0]
    assert decommission.read_status(world.site, "mlflow").cost_query == "SELECT cost OF 10"
    world.costs.costs = []
    assert world.next().state is State.COST_CHECKED
    record, files = decommission.write_record(world.site, "mlflow")
    assert record.saved_a_year == (("EUR", 365.0),)
    text = Path(files[0].removeprefix("file://")).read_text()
    assert "365.00 EUR a year" in text
    assert "Approved by: ann (typed)" in text
    assert msgspec.json.decode(Path(files[1].removeprefix("file://")).read_bytes())["state"] == "cost checked"


def test_what_was_kept_after_the_deletion_may_have_cost_something(world: World) -> None:
    """A soft delete is over when the bill is read, and its days are in it.

    A person must judge what was kept under another name."""
    bucket = Kept(what="bucket mlflow-artifacts", state="SOFT_DELETED", name=BUCKET)
    world.google.kept = {BUCKET: [bucket], SECRET: [Kept(what="version 1", state="DISABLED", name=f"{SECRET}/1")]}
    world.plan()
    world.go(State.GONE)
    world.google.kept[BUCKET], world.google.kept[SECRET] = [], []
    world.now += timedelta(days=9)
    world.costs.costs = [Cost(resource=BUCKET, amount=0.03, currency="EUR")]
    assert world.next(dry_run=True).refusals == ()
    world.costs.costs = [Cost(resource=SECRET, amount=0.03, currency="EUR")]
    assert "Of it are kept, or were: version 1" in world.next().refusals[0]
    assert world.next(costs_seen=True).state is State.COST_CHECKED


@pytest.mark.parametrize(
    "error",
    [
        BadSetup("bigquery.jobs.create is missing"),
        NotFound("there is no table bill"),
        BadRecord("the billing export bill", ["has no row at all"]),
    ],
)
def test_a_billing_export_that_does_not_answer_is_not_one_that_no_one_named(world: World, error: Exception) -> None:
    """The reason refuses the last state, and a look of one's own does not take its place."""
    world.plan()
    world.go(State.GONE)
    world.now += timedelta(days=9)
    world.costs.error = error
    (said,) = world.next(costs_seen=True).refusals
    assert said.startswith("The billing export does not answer: ")
    assert str(error) in said
    world.costs.error = None
    assert world.next(costs_seen=True).state is State.COST_CHECKED


def test_a_plan_does_not_hide_that_its_billing_export_may_not_be_read(world: World) -> None:
    """It says the reason, and goes on: an export that was made just now has no table yet."""
    world.costs.error = BadSetup("bigquery.jobs.create is missing")
    assert "the billing export does not answer: bigquery.jobs.create is missing" in to_text(world.plan().plan)


@pytest.mark.parametrize("state", [State.INVENTORY, State.GONE])
def test_a_bill_that_was_looked_at_too_early_was_not_looked_at(world: World, state: State) -> None:
    """Before anything was deleted, or before the full days are over."""
    world.plan()
    if state is not State.INVENTORY:
        world.go(state)
    world.next(costs_seen=True)
    if state is State.INVENTORY:
        world.go(State.GONE)
    world.now += timedelta(days=9)
    assert "no one has looked at the bill" in world.next().refusals[0]
    assert world.next(costs_seen=True).state is State.COST_CHECKED


def test_a_list_that_lags_is_waited_for(world: World) -> None:
    """What is still listed is named; the same command goes on once it is not."""
    world.plan()
    world.go(State.DELETING)
    saved = dict(world.google.there)
    world.google.there[SERVICE] = world.google.deleted[SERVICE]
    assert f"run service {SERVICE} is still listed" in world.next().refusals[0]
    world.google.there = saved
    assert world.next().state is State.GONE


def test_known_callers_that_are_named_later_are_kept(world: World) -> None:
    """With the walk's other rules; what would excuse others is not taken at all."""
    world.plan()
    with pytest.raises(BadRequest, match="takes the whole name"):
        world.next(known_callers=("*",))
    world.go(State.VERIFIED)
    world.use.callers = [STRANGER]
    world.go(State.EXPORTED)
    assert world.next().refusals
    assert world.next(known_callers=("python-requests/*",)).state is State.QUIET
    assert world.walk.rules.known_callers == ("switchyard/*", "python-requests/*")
