"""Google Cloud as a decommission sees it: the ports of its resources, their use and their costs.

As in `switchyard.core.ports`: each port has one test suite that every implementation passes, every method says what a
second, identical call does, and all raise `TryAgain` when the outside may answer later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from switchyard.core.decommission.requests import Control
from switchyard.core.decommission.resources import (
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
from switchyard.core.decommission.users import Need


class Cloud(Protocol):
    """One kind of resource of an MLflow deployment, on Google Cloud.

    All methods raise BadSetup if a permission is missing (its name is in the message): that is never "gone".
    """

    @property
    def kind(self) -> Kind:
        """The kind of all that it finds."""

    def find(self, sought: Sought) -> Found:
        """Finds what is sought in whole lists, in every place and with all pages. A second call lists again.

        Raises: BadRecord: the control is not in the lists, so that an empty list says nothing."""

    def describe(self, name: str) -> Resource:
        """Returns the resource as it is now.

        Raises: NotFound.
        """

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """Returns what the caller may not do of all that `prepare`, `stop`, `start`, `delete` and `recover` need."""

    def prepare(self, resource: Resource) -> Operation:
        """Makes sure that what a deletion takes can be brought back.

        Backups outlive their instance, and destruction is delayed. A second call changes nothing, and makes no second
        backup.

        Raises: StaleWrite: it is not as `resource` has it; NotFound.
        """

    def stop(self, resource: Resource) -> Operation:
        """Stops it so that `start` takes that back. A second call changes nothing.

        Raises: StaleWrite, NotFound: as `prepare`."""

    def start(self, saved: Resource) -> Operation:
        """Makes it again what `saved`, read before `stop`, says of what `stop` changes. A second call changes nothing.

        Raises: NotFound; StaleWrite: a namesake with another unique id is there."""

    def delete(self, resource: Resource) -> Operation:
        """Deletes it, with what `prepare` arranged. A second call does nothing: one that is not there is deleted.

        Raises: StaleWrite: it is not as `resource` has it; BadRequest: something guards it."""

    def recover(self, saved: Resource) -> Operation:
        """Brings back what was deleted, from what the vendor keeps, else by making it again from `saved`.

        A second call changes nothing.

        Raises: NotFound: too late, there is no way; StaleWrite: a namesake is there.
        """

    def poll(self, operation: Operation) -> Progress:
        """Returns how far it is. A second call asks again."""

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """Returns what is kept of it, whether it is still there or not."""


class CloudUse(Protocol):
    """Who uses an MLflow deployment, by Google Cloud's own records."""

    def list_callers(self, service: Resource, since: datetime, until: datetime) -> tuple[Caller, ...]:
        """Returns who asked `service` in that time, refused or not, most requests first. A second call asks again."""

    def count_requests(self, service: Resource, since: datetime, until: datetime) -> int:
        """Returns how many requests the service's metric counts in that time."""

    def count_edge(self, service: Resource, since: datetime) -> int:
        """Returns how many requests the log has before `since` that `count_requests` may count since then.

        See `core.decommission.requests`.
        """

    def find_control(self, service: Resource, since: datetime, until: datetime) -> Control:
        """Says what the queries of `list_callers` and `count_requests` find in that time, without reading all of it."""

    def list_starts(self, resource: Resource, since: datetime) -> tuple[str, ...]:
        """Returns what was started since, a sentence each: operations on an instance, revisions of a service.

        What an operation of ours did is not in it: the caller leaves it out by name.
        """


class CloudUsers(Protocol):
    """What else in the project needs what a deployment consists of."""

    def list_needs(self, sought: Sought) -> tuple[Need, ...]:
        """Returns what every service, job, worker pool and trigger needs, in all places, whether it is sought or not.

        A second call lists again.
        Raises: BadSetup: a permission is missing.
        """


class CloudCosts(Protocol):
    """What resources cost, from a billing export."""

    @property
    def is_named(self) -> bool:
        """False if no export is named at all; an export that may not be read, or is not there, is named."""

    def to_query(self, resources: Sequence[Resource], since: datetime, until: datetime) -> str:
        """Returns the query, for a person who asks the export."""

    def read(self, resources: Sequence[Resource], since: datetime, until: datetime) -> tuple[Cost, ...]:
        """Returns what the resources cost, by that query.

        Raises: BadSetup: no export is named, or it may not be read; NotFound: there is no such table.
        """


@dataclass(frozen=True)
class Clouds:
    """Google Cloud as one decommission sees it: a `Cloud` for each kind."""

    kinds: Mapping[Kind, Cloud]
    use: CloudUse
    users: CloudUsers
    costs: CloudCosts
