"""The project that the endpoint stands for: its clock, its long operations, who may do what, its services' state."""

import base64
import copy
import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from tests.emulators.faults import Fault, Faults
from tests.emulators.google.documents import Method
from tests.emulators.google.refusing import Refused, denied

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One request, checked against the document."""

    method: Method
    path: str  # without the version and the verb behind a colon: projects/p/secrets/s
    params: dict[str, str]
    query: dict[str, list[str]]
    body: Json
    fault: Fault

    def one(self, name: str, default: str = "") -> str:
        """The value of a query's name."""
        return self.query.get(name, [default])[-1]


class Shelf(dict[str, Json]):
    """Resources of one sort by their names. Remembers what was taken away, for lists that lag."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[str, Json] = {}

    def take(self, name: str) -> Json:
        """Removes it."""
        self.taken[name] = self.pop(name)
        return self.taken[name]

    def listed(self, call: Call, below: str = "") -> list[Json]:
        """What a list shows, ascending by name.

        Source of the lag: lists are eventually consistent where nothing else is said
        (https://cloud.google.com/iam/docs/access-change-propagation for IAM).
        """
        if call.fault.empty:
            return []
        shown = {**self.taken, **self} if call.fault.stale else dict(self)
        return [shown[name] for name in sorted(shown) if name.startswith(below)]


@dataclass
class Pending:
    """A long operation's effect, and the request at which it is there."""

    due: int
    effect: Callable[[], None]


Handler = Callable[["Service", Call], Any]


def route(method_id: str, permission: str = "") -> Callable[[Any], Any]:
    """Marks what answers a method, and the permission that it asks for."""

    def mark(function: Any) -> Any:
        function.routes = [*getattr(function, "routes", []), (method_id, permission)]
        return function

    return mark


class Service:
    """One API's state and rules."""

    api: ClassVar[str] = ""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.shelves: dict[str, Shelf] = {}

    def shelf(self, name: str) -> Shelf:
        """A new shelf of that name."""
        return self.shelves.setdefault(name, Shelf())

    def settle(self) -> None:
        """What time does by itself: called before each request."""


@dataclass
class World:
    """One project, and Google's side of it.

    Args:
        lag: how many requests later (of any kind) a long operation is done.
        page_size: how many items a page of a list has at most, whatever is asked: clients must follow pages.
    """

    project: str = "acme-ml"
    number: str = "123456789012"
    start: datetime = field(default_factory=lambda: datetime(2026, 11, 2, 8, tzinfo=UTC))
    lag: int = 2
    page_size: int = 2
    locations: tuple[str, ...] = ("asia-east1", "europe-west1", "us-central1")

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.faults = Faults()
        self.denied: set[str] = set()  # permissions that the caller lacks
        self.log: list[Call] = []
        self.breaches: list[str] = []  # replies of ours that no document knows
        self.ids = itertools.count(1001)
        self.requests = 0
        self._offset = timedelta()
        self._pending: list[Pending] = []
        self._routes: dict[str, tuple[Service, Any, str]] = {}
        self.services: list[Service] = []

    def add(self, service: Service) -> None:
        """Lets `service` answer its methods."""
        self.services.append(service)
        for name in dir(type(service)):
            function = getattr(type(service), name)
            for method_id, permission in getattr(function, "routes", ()):
                self._routes[method_id] = (service, function, permission)

    @property
    def now(self) -> datetime:
        """The endpoint's own time: one second a request, and what a test lets pass."""
        return self.start + self._offset + timedelta(seconds=self.requests)

    def let_pass(self, time: timedelta) -> None:
        """Moves the clock."""
        with self.lock:
            self._offset += time
            self._settle()

    def stamp(self) -> str:
        """Now, as the APIs write it."""
        return to_stamp(self.now)

    def new_id(self) -> str:
        """A number that no other has."""
        return str(next(self.ids))

    def new_etag(self) -> str:
        """Base64, as etags of policies are bytes."""
        return base64.b64encode(f"e{next(self.ids)}".encode()).decode()

    def later(self, effect: Callable[[], None]) -> None:
        """`effect` is there `lag` requests from now, or at once where there is none."""
        self._pending.append(Pending(self.requests + self.lag, effect))
        self._settle()

    def finish(self) -> None:
        """Brings all long operations to their end."""
        with self.lock:
            while self._pending:
                self._pending.pop(0).effect()

    def page(self, items: Iterable[Json], call: Call, key: str, size: str = "pageSize", **more: Any) -> Json:
        """One page of a list. No key at all where there is nothing, as Google's JSON leaves empty fields out."""
        everything = list(items)
        begin = int(base64.b64decode(call.one("pageToken")).decode()) if call.one("pageToken") else 0
        step = min(int(call.one(size) or 0) or self.page_size, self.page_size)
        shown = copy.deepcopy(everything[begin : begin + step])
        answer: Json = {**more, **({key: shown} if shown else {})}
        if begin + step < len(everything):
            answer["nextPageToken"] = base64.b64encode(str(begin + step).encode()).decode()
        return answer

    def list_locations(self, call: Call) -> Json:
        """The regions of an API. Source: Location in the discovery documents run.v1 and cloudbuild.v2."""
        items = [{"name": f"projects/{self.project}/locations/{one}", "locationId": one} for one in self.locations]
        return self.page([] if call.fault.empty else items, call, "locations")

    def answer(self, call: Call) -> Any:
        """What the API answers. Raises Refused."""
        with self.lock:
            self.requests += 1
            self._settle()
            for service in self.services:
                service.settle()
            self.log.append(call)
            found = self._routes.get(call.method.id)
            if found is None:
                raise Refused(501, f"{call.method.id}: the API has it, this endpoint does not")
            service, function, permission = found
            self.check_allowed(permission, call.path, service.api)
            return copy.deepcopy(function(service, call))

    def has(self, method_id: str) -> bool:
        """Whether something here answers it."""
        return method_id in self._routes

    def check_allowed(self, permission: str, resource: str, api: str) -> None:
        """Raises Refused (403) where the caller lacks the permission."""
        if permission in self.denied:
            raise denied(permission, resource, api)

    def test_permissions(self, asked: Iterable[str]) -> Json:
        """What testIamPermissions answers: those of the asked that the caller has.

        Source: https://cloud.google.com/iam/docs/testing-permissions
        """
        held = [permission for permission in asked if permission not in self.denied]
        return {"permissions": held} if held else {}

    def snapshot(self) -> dict[str, Json]:
        """Everything that is there, by its name; without operations, logs and metrics. To compare before and after."""
        with self.lock:
            return {
                f"{service.api}/{shelf}/{name}": copy.deepcopy(item)
                for service in self.services
                for shelf, items in service.shelves.items()
                for name, item in items.items()
            }

    def _settle(self) -> None:
        while due := [pending for pending in self._pending if pending.due <= self.requests]:
            self._pending.remove(due[0])
            due[0].effect()


def to_stamp(time: datetime) -> str:
    """RFC 3339 in UTC."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_stamp(text: str) -> datetime:
    """The time that a stamp says."""
    return datetime.fromisoformat(text)


def find_changed(before: dict[str, Json], after: dict[str, Json]) -> set[str]:
    """The names of all that was made, changed or taken away between two snapshots."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
