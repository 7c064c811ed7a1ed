"""Takes away Cloud Build triggers. Global and regional ones are separate lists; deleted ones are made again.

Source: https://cloud.google.com/build/docs/locations, the discovery document cloudbuild.v1
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from switchyard.clients.google.decommission.access import Access, Api
from switchyard.clients.google.decommission.matching import (
    Listed,
    check_same,
    check_unchanged,
    find,
    looked_at_again,
    over,
    to_digest,
)
from switchyard.clients.google.decommission.permissions import Permissions
from switchyard.clients.google.decommission.places import Places
from switchyard.core.decommission.resources import (
    Activity,
    Found,
    Kept,
    Kind,
    Operation,
    Progress,
    Resource,
    Sought,
)
from switchyard.core.errors import NotFound, StaleWrite

# Source: https://cloud.google.com/build/docs/iam-roles-permissions: triggers have no own permissions.
_NEEDED: Final = (
    "cloudbuild.builds.list", "cloudbuild.builds.get", "cloudbuild.builds.update", "cloudbuild.builds.create",
    "cloudbuild.locations.list",
)  # fmt: skip
_OURS: Final = ("id", "createTime", "resourceName", "etag")


class BuildTriggers:
    """Implements `Cloud` over Cloud Build v1. Threads may share it.

    A trigger is named by its own name, which stays when it is made again. Its id is its unique id."""

    kind = Kind.BUILD_TRIGGER

    def __init__(self, access: Access, project: str) -> None:
        self._api = Api(access, "cloudbuild", "v1")
        self._places = Places(access)
        self._permissions = Permissions(access, project)

    def find(self, sought: Sought) -> Found:
        """See the port. A trigger that names a reference anywhere in it is found by that."""
        places = self._places.list_build(sought)
        listed = []
        for place in places:
            for item in list_triggers(self._api, f"projects/{sought.project}/locations/{place}"):
                text = json.dumps(item)
                listed.append(
                    Listed(
                        name=_to_name(f"projects/{sought.project}/locations/{place}", item),
                        handles=(item.get("name", ""), item["id"], *item.get("tags", ())),
                        found_by=tuple(f"reference {name}" for name in sought.references if name in text),
                    )
                )
        return find(self.kind, sought, listed, places, self.describe)

    def describe(self, name: str) -> Resource:
        """See the port."""
        parent, short = name.split("/triggers/")
        for item in list_triggers(self._api, parent):
            if short in (item.get("name"), item["id"]):
                return Resource(
                    kind=self.kind,
                    name=name,
                    unique_id=item["id"],
                    version=to_digest({key: value for key, value in item.items() if key != "disabled"}),
                    activity=Activity.STOPPED if item.get("disabled") else Activity.ACTIVE,
                    description=item,
                )
        raise NotFound(f"{name} is not there")

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """See the port. Triggers have no own policy: the project's decides."""
        return self._permissions.find_missing(_NEEDED)

    def prepare(self, resource: Resource) -> Operation:
        """See the port. Only a trigger's description can be kept."""
        check_same(resource, self.describe(resource.name))
        return over(resource)

    def stop(self, resource: Resource) -> Operation:
        """See the port. A build that has begun goes on."""
        now = self.describe(resource.name)
        check_same(resource, now)
        if now.activity is Activity.ACTIVE:
            check_unchanged(resource, now)
            self._set_disabled(now, "disable", disabled=True)
        return over(now)

    def start(self, saved: Resource) -> Operation:
        """See the port."""
        now = self.describe(saved.name)
        if not _is_remade(saved, now):
            check_same(saved, now)
        if now.activity is not saved.activity:
            self._set_disabled(now, "enable", disabled=saved.activity is Activity.STOPPED)
        return over(now)

    def delete(self, resource: Resource) -> Operation:
        """See the port. Deletes by the id, so that no namesake can be meant."""
        try:
            now = self.describe(resource.name)
        except NotFound:
            return over(resource)
        check_unchanged(resource, now)
        with looked_at_again(now.name):
            self._api.call(
                lambda client: client.projects().locations().triggers().delete(name=_to_path(now)),
                action="delete",
                where=now.name,
                permission="cloudbuild.builds.update",
            )
        return over(now)

    def recover(self, saved: Resource) -> Operation:
        """See the port. Makes a new trigger of the same name, with another id and another address of a webhook."""
        try:
            now = self.describe(saved.name)
        except NotFound:
            parent = saved.name.split("/triggers/")[0]
            body = _to_settable(saved.description)
            self._api.call(
                lambda client: client.projects().locations().triggers().create(parent=parent, body=body),
                action="make",
                where=saved.name,
                permission="cloudbuild.builds.create",
            )
            return over(saved)
        if now.unique_id != saved.unique_id and _to_settable(now.description) != _to_settable(saved.description):
            raise StaleWrite(f"{now.name} is there, and it is another one: its id is {now.unique_id}")
        return over(now)

    def poll(self, operation: Operation) -> Progress:
        """See the port. Triggers have no long operations."""
        return Progress(done=True)

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """See the port: nothing but what was saved."""
        return ()

    def _set_disabled(self, now: Resource, action: str, *, disabled: bool) -> None:
        self._api.call(
            lambda client: (
                client.projects()
                .locations()
                .triggers()
                .patch(resourceName=_to_path(now), updateMask="disabled", body={"disabled": disabled})
            ),
            action=action,
            where=now.name,
            permission="cloudbuild.builds.update",
        )


def list_triggers(build: Api, parent: str) -> list[dict[str, Any]]:
    """Returns all triggers of ``projects/<p>/locations/<l>``. Raises: as `Api.list_all`."""
    return build.list_all(
        lambda client, token: client.projects().locations().triggers().list(parent=parent, pageToken=token),
        "triggers",
        where=f"the triggers of {parent}",
        permission="cloudbuild.builds.list",
    )


def _to_settable(description: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in description.items() if key not in _OURS}


def _is_remade(saved: Resource, now: Resource) -> bool:
    """Returns whether it is what `recover` makes of `saved`, disabled or not."""
    before, after = (
        {key: value for key, value in _to_settable(one.description).items() if key != "disabled"}
        for one in (saved, now)
    )
    return saved.unique_id != now.unique_id and before == after


def _to_name(parent: str, item: Mapping[str, Any]) -> str:
    return f"{parent}/triggers/{item.get('name') or item['id']}"


def _to_path(trigger: Resource) -> str:
    """Returns the path with ``name=``: with only a project and an id, the request goes to the global list."""
    return f"{trigger.name.split('/triggers/')[0]}/triggers/{trigger.unique_id}"
