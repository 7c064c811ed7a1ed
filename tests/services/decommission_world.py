"""A deployment in memory: a `Cloud` of every kind with the rules that a walk meets, and faults between its effects."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from switchyard.clients.objects.open import open_objects, open_private_objects
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.core.decommission.cloud import Clouds
from switchyard.core.decommission.databases import Address
from switchyard.core.decommission.evidence import (
    Approver,
    DrillEvidence,
    ExportEvidence,
    KeptEvidence,
    PublishedEvidence,
    VerifyEvidence,
)
from switchyard.core.decommission.gates import Against
from switchyard.core.decommission.order import STOPPED, find_owner
from switchyard.core.decommission.outcomes import Planned, Taken, Wanted
from switchyard.core.decommission.readers import HandedIn, Needed, Newest
from switchyard.core.decommission.requests import Control
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
from switchyard.core.decommission.rows import Step, Walk
from switchyard.core.decommission.rules import Rules, to_approved_digest
from switchyard.core.decommission.states import State
from switchyard.core.decommission.users import Need
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, StaleWrite, TryAgain
from switchyard.core.ports import Objects
from switchyard.services import decommission
from switchyard.services.decommission_looking import Site
from tests.clients.results.places import to_settings
from tests.core.decommission.world import NAMES, SOUGHT, make_evidence, make_resource

T = TypeVar("T")
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LONG = (Kind.RUN_SERVICE, Kind.SQL_INSTANCE)
"""Their acts are operations with a name."""
OTHERS = tuple((kind, f"projects/shop-1/others/serving-{kind.name.lower()}") for kind in Kind)
"""Which the plan does not list."""


class Killed(BaseException):
    """The process was killed: nothing in it may catch this."""


@dataclass
class Faults:
    """Counts the outside effects, and breaks one of them off."""

    count: int = 0
    at: int = -1  # the effect, from 0; -1: none
    after: bool = False  # its effect is there, and its answer is lost
    error: BaseException | None = None
    seen: list[str] = field(default_factory=list)

    def effect(self, name: str, do: Callable[[], T]) -> T:
        here, self.count = self.count, self.count + 1
        self.seen.append(name)
        if here == self.at and not self.after:
            raise self.error or Killed()
        found = do()
        if here == self.at:
            raise self.error or Killed()
        return found


class FakeGoogle:
    """What is there, whatever the kind."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.there = {name: make_resource(kind, name) for kind, names in NAMES.items() for name in names}
        self.there |= {name: make_resource(kind, name) for kind, name in OTHERS}
        self.deleted: dict[str, Resource] = {}
        self.kept: dict[str, list[Kept]] = {}
        self.pending: dict[str, tuple[str, Resource, int]] = {}  # by operation: verb, resource, looks to go
        self.failing: set[str] = set()  # verbs whose operations end in error
        self.problems: dict[str, str] = {}  # by operation
        self.broken: dict[tuple[str, str], BaseException] = {}  # by verb and resource: raised in the place of an effect
        self.forbidden: set[str] = set()
        self.writes: list[tuple[str, str]] = []
        self._changes = 0
        self._operations = 0

    def tick(self) -> None:
        """Time passes with each look."""
        for name, (verb, resource, left) in list(self.pending.items()):
            if left > 1:
                self.pending[name] = (verb, resource, left - 1)
            else:
                del self.pending[name]
                self.apply(verb, resource)

    def change(self, name: str, **changed: Any) -> None:
        """As someone else does it, or an act: the version of all that has the same owner is another then."""
        self.there[name] = msgspec.structs.replace(self.there[name], **changed)
        self._changes += 1
        for other in self.there:
            if find_owner(other) == find_owner(name):
                version = f"c{self._changes}"
                self.there[other] = msgspec.structs.replace(self.there[other], version=version)

    def apply(self, verb: str, resource: Resource) -> None:
        name = resource.name
        match verb:
            case "prepare" if not self.kept.get(name) and resource.kind is Kind.SQL_INSTANCE:
                self.kept[name] = [Kept(what=f"{name} on demand", state="SUCCESSFUL")]
                self.change(name)
            case "stop" if resource.kind is Kind.VARIABLE:
                self._remove(name)
            case "stop":
                self.change(name, activity=Activity.STOPPED)
            case "start":
                if name not in self.there:
                    self.there[name] = resource
                self.change(name, activity=resource.activity)
            case "delete":
                self._remove(name)
                if resource.kind is Kind.SQL_INSTANCE:
                    self.kept.setdefault(name, []).append(Kept(what=f"{name} FINAL", state="SUCCESSFUL"))
                    for other, one in self.there.items():
                        if one.description.get("replicaNames"):
                            self.change(other, guards=())
                            break
            case "recover":
                again = {**msgspec.structs.asdict(resource)}
                if resource.kind in LONG:  # made again
                    again["unique_id"] = f"another {resource.unique_id}"
                if resource.kind in STOPPED:
                    again["activity"] = Activity.STOPPED
                self.there[name] = Resource(**again)
                self.change(name)
                self.deleted.pop(name, None)

    def _remove(self, name: str) -> None:
        self.deleted[name] = self.there.pop(name)
        for other in list(self.there):
            if find_owner(other) == find_owner(name):
                self.change(other)
                break

    def act(self, verb: str, resource: Resource) -> Operation:
        if (verb, resource.name) in self.broken:
            raise self.broken[(verb, resource.name)]
        busy = [name for name, (_, other, _) in self.pending.items() if other.name == resource.name]
        if busy:
            raise TryAgain(f"operation {busy[0]} on {resource.name} is not over")
        self._operations += 1
        operation = f"operations/{self._operations}" if resource.kind in LONG else ""

        def do() -> Operation:
            self.writes.append((verb, resource.name))
            if verb in self.failing and operation:
                self.problems[operation] = "INTERNAL: try it again"
            elif operation:
                self.pending[operation] = (verb, resource, 2)
            else:
                self.apply(verb, resource)
            return Operation(kind=resource.kind, resource=resource.name, name=operation)

        return self.faults.effect(f"{verb} {resource.name}", do)

    def look(self) -> dict[str, Any]:
        """All that is there, without versions and ids, which never come back."""
        return {
            name: msgspec.structs.replace(one, version="", unique_id="", guards=()) for name, one in self.there.items()
        }


class FakeCloud:
    """`Cloud`, of one kind."""

    def __init__(self, kind: Kind, google: FakeGoogle) -> None:
        self._kind = kind
        self._google = google

    @property
    def kind(self) -> Kind:
        return self._kind

    def find(self, sought: Sought) -> Found:
        self._google.tick()
        listed = [one for one in self._google.there.values() if one.kind is self._kind]
        control = sought.controls.get(self._kind, "")
        if control and not any(control in one.name for one in listed):
            raise BadRecord(f"the lists of every {self._kind}", [f"they do not hold the control {control}"])
        names = sought.names.get(self._kind, ())
        if sought.names and self._kind in (Kind.VARIABLE, Kind.BINDING):  # of these no one knows a name before
            names = tuple(name.rpartition("/")[2] for name in NAMES[self._kind])
        tails = {name.partition("#")[2] for name in names} - {""}
        found = sorted(
            (
                one
                for one in listed
                if one.name.rpartition("/")[2] in names or one.name.partition("#")[2] in tails  # by reference
            ),
            key=lambda one: one.name,
        )
        return Found(
            kind=self._kind, resources=tuple(found), listed=len(listed), places=sought.regions, control=control
        )

    def describe(self, name: str) -> Resource:
        self._google.tick()
        if name not in self._google.there:
            raise NotFound(f"there is no {self._kind} {name}")
        return self._google.there[name]

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        return tuple(sorted(self._google.forbidden))

    def _check(self, resource: Resource) -> Resource:
        found = self.describe(resource.name)
        if (found.version, found.unique_id) != (resource.version, resource.unique_id):
            raise StaleWrite(f"{resource.name} was changed by someone: version {found.version} is there")
        return found

    def prepare(self, resource: Resource) -> Operation:
        return self._google.act("prepare", self._check(resource))

    def stop(self, resource: Resource) -> Operation:
        return self._google.act("stop", self._check(resource))

    def start(self, saved: Resource) -> Operation:
        if saved.name not in self._google.there and self._kind is not Kind.VARIABLE:
            raise NotFound(f"there is no {self._kind} {saved.name}")
        if self._google.there.get(saved.name, saved).unique_id != saved.unique_id:
            raise StaleWrite(f"{saved.name} is another one than {saved.unique_id}")
        if self._google.there.get(saved.name, saved).activity is saved.activity and saved.name in self._google.there:
            return Operation(kind=self._kind, resource=saved.name)
        return self._google.act("start", saved)

    def delete(self, resource: Resource) -> Operation:
        found = self._check(resource)
        if found.guards:
            raise BadRequest(f"{resource.name} is guarded: {found.guards[0]}")
        return self._google.act("delete", found)

    def recover(self, saved: Resource) -> Operation:
        if self._kind is Kind.SECRET:
            raise NotFound(f"{saved.name} was deleted for good")
        if saved.name in self._google.there:
            found = self._google.there[saved.name]
            if not found.unique_id.endswith(saved.unique_id):
                raise StaleWrite(f"{saved.name} is there, and it is another one: {found.unique_id}")
            return Operation(kind=self._kind, resource=saved.name)
        return self._google.act("recover", saved)

    def poll(self, operation: Operation) -> Progress:
        self._google.tick()
        problem = self._google.problems.get(operation.name, "")
        return Progress(done=operation.name not in self._google.pending, problem=problem)

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        return tuple(self._google.kept.get(saved.name, ()))


@dataclass
class FakeUse:
    """`CloudUse`."""

    callers: list[Caller] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    logged_at: datetime | None = START - timedelta(days=10)
    counted: int = 7

    def list_callers(self, service: Resource, since: datetime, until: datetime) -> tuple[Caller, ...]:
        return tuple(self.callers)

    def count_requests(self, service: Resource, since: datetime, until: datetime) -> int:
        return sum(caller.requests for caller in self.callers)

    def count_edge(self, service: Resource, since: datetime) -> int:
        return 0

    def find_control(self, service: Resource, since: datetime, until: datetime) -> Control:
        return Control(service=service.name, since=since, logged_at=self.logged_at, counted=self.counted)

    def list_starts(self, resource: Resource, since: datetime) -> tuple[str, ...]:
        return tuple(self.starts)


@dataclass
class FakeUsers:
    """`CloudUsers`."""

    needs: list[Need] = field(default_factory=list)

    def list_needs(self, sought: Sought) -> tuple[Need, ...]:
        return tuple(self.needs)


@dataclass
class FakeCosts:
    """`CloudCosts`."""

    costs: list[Cost] | None = None
    error: Exception | None = None

    @property
    def is_named(self) -> bool:
        return self.costs is not None or self.error is not None

    def to_query(self, resources: Sequence[Resource], since: datetime, until: datetime) -> str:
        return f"SELECT cost OF {len(resources)}"

    def read(self, resources: Sequence[Resource], since: datetime, until: datetime) -> tuple[Cost, ...]:
        if self.error is not None:
            raise self.error
        if self.costs is None:
            raise BadSetup("no billing export is named: set BILLING_EXPORT_TABLE")
        return tuple(self.costs)


class FakeEvidence:
    """`EvidenceReader`: right evidence, with what a test plants."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.planted: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.newest = Newest()
        self.needed: list[Needed] = []
        self.approvers: list[Approver] = []

    def _read(self, name: str, type_: type[T], against: Against, **more: Any) -> T:
        self.asked.append(name)
        found = msgspec.structs.replace(
            make_evidence()[name],
            **{"inventory": against.inventory, "read_at": self._clock(), **more, **self.planted.get(name, {})},
        )
        assert isinstance(found, type_)
        return found

    def read_verify(self, against: Against) -> VerifyEvidence:
        verified = against.now - timedelta(hours=1)
        return self._read("verify", VerifyEvidence, against, verified_at=verified)

    def read_kept(self, against: Against) -> KeptEvidence:
        return self._read("kept", KeptEvidence, against)

    def read_published(self, against: Against) -> PublishedEvidence:
        return self._read("published", PublishedEvidence, against)

    def read_export(self, against: Against) -> ExportEvidence:
        return self._read("export", ExportEvidence, against)

    def drill(self, against: Against, export: ExportEvidence) -> DrillEvidence:
        return self._read("drill", DrillEvidence, against, export_digest=export.digest, drilled_at=self._clock())

    def read_newest(self) -> Newest:
        return self.newest

    def list_needed(self) -> list[Needed]:
        return self.needed

    def find_mlflow_address(self) -> Address | None:
        return Address(hosts=("127.0.0.1",), database="mlflow")

    def read_approvals(self, against: Against, state: str) -> HandedIn:
        return HandedIn(approvers=tuple(self.approvers))


class FaultyDecommissions:
    """The real port, each of whose writes is an effect."""

    def __init__(self, ports: ResultsPorts, faults: Faults) -> None:
        self._port = ports.decommissions
        self._faults = faults

    def find(self, name: str) -> Walk | None:
        return self._port.find(name)

    def list_steps(self, name: str, *, walk: int | None = None) -> list[Step]:
        return self._port.list_steps(name, walk=walk)

    def begin(self, wanted: Walk, *, revision: int) -> Walk:
        return self._faults.effect("begin", lambda: self._port.begin(wanted, revision=revision))

    def hold(self, name: str, *, revision: int) -> Walk:
        return self._faults.effect("hold", lambda: self._port.hold(name, revision=revision))

    def move(self, name: str, state: State, *, revision: int, by: str, now: datetime) -> Walk:
        return self._faults.effect("move", lambda: self._port.move(name, state, revision=revision, by=by, now=now))

    def change_rules(self, name: str, rules: Rules, *, revision: int) -> Walk:
        return self._faults.effect("rules", lambda: self._port.change_rules(name, rules, revision=revision))

    def add_step(self, name: str, step: Step, *, revision: int) -> Step:
        said = f"note {step.act} {step.outcome}"
        return self._faults.effect(said, lambda: self._port.add_step(name, step, revision=revision))


class FaultyObjects:
    """Real files, each of whose writes is an effect."""

    def __init__(self, objects: Objects, faults: Faults) -> None:
        self._objects = objects
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        return self._faults.effect("write", lambda: self._objects.write(uri, data, if_generation=if_generation))


class World:
    """One deployment, its walk, and the person who walks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self.faults = Faults()
        self.google = FakeGoogle(self.faults)
        self.use = FakeUse()
        self.users = FakeUsers()
        self.costs = FakeCosts()
        self.evidence = FakeEvidence(self.clock)
        url = f"sqlite:///{folder / 'results.db'}"
        migrate(to_settings(url))
        self.ports = open_results(url)
        self.rules = Rules(
            switched_at=START - timedelta(days=30),
            known_callers=("switchyard/*",),
            export_uri=f"file://{folder}/export",
            folder_uri=f"file://{folder}/decommission",
        )

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=10)
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def clouds(self) -> Clouds:
        return Clouds(
            kinds={kind: FakeCloud(kind, self.google) for kind in Kind},
            use=self.use,
            users=self.users,
            costs=self.costs,
        )

    @property
    def site(self) -> Site:
        return Site(
            open_clouds=lambda: self.clouds,
            decommissions=FaultyDecommissions(self.ports, self.faults),
            objects=lambda uri: FaultyObjects(open_objects(uri), self.faults),
            private_objects=lambda uri: FaultyObjects(open_private_objects(uri), self.faults),
            evidence=self.evidence,
            clock=self.clock,
            pause=self.wait,
        )

    def plan(self, *, sought: Sought = SOUGHT, **more: Any) -> Planned:
        return decommission.plan(self.site, "mlflow", sought, self.rules, by="ann", **more)

    def next(self, **wanted: Any) -> Taken:
        return decommission.take_next(self.site, "mlflow", Wanted(by="ann", **wanted))

    def settle(self) -> Taken:
        """The same command again, as a task does it, until what is under way is over."""
        while True:
            try:
                return self.next(**self.confirm())
            except TryAgain:
                self.wait(10)

    def undo(self, **more: Any) -> Taken:
        return decommission.undo(self.site, "mlflow", by="ann", **more)

    @property
    def walk(self) -> Walk:
        found = self.ports.decommissions.find("mlflow")
        assert found is not None
        return found

    @property
    def steps(self) -> list[Step]:
        return self.ports.decommissions.list_steps("mlflow")

    def confirm(self) -> dict[str, Any]:
        """What must be said or waited for to go on from here."""
        match self.walk.state:
            case State.SOFT_STOPPED:
                self.now = max(self.now, self.walk.since + timedelta(days=8))
            case State.QUIET_AGAIN | State.APPROVED | State.DELETING:
                return {"confirm": to_approved_digest(self.walk.inventory, self.walk.rules)}
            case State.GONE:
                self.now = max(self.now, self.walk.since + timedelta(days=9))
                return {"costs_seen": True}
        return {}

    def go(self, until: State) -> Taken:
        """On to that state, where nothing holds it up."""
        while True:
            taken = self.next(**self.confirm())
            assert not taken.refusals, taken.refusals
            if taken.state is until:
                return taken

    def save(self) -> Mapping[str, Any]:
        """All that can change, to go back to."""
        self.ports.close()  # or part of it is in the log beside the file
        assert not (self.folder / "results.db-wal").exists()
        return {
            "database": (self.folder / "results.db").read_bytes(),
            "google": copy.deepcopy({k: v for k, v in vars(self.google).items() if k != "faults"}),
            "now": self.now,
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        self.ports.close()
        for tail in ("-wal", "-shm"):
            (self.folder / f"results.db{tail}").unlink(missing_ok=True)
        (self.folder / "results.db").write_bytes(saved["database"])
        vars(self.google).update(copy.deepcopy(saved["google"]))
        self.now = saved["now"]
        self.faults.count, self.faults.at, self.faults.after, self.faults.error = 0, -1, False, None
        self.faults.seen = []
