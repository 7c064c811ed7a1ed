"""Takes away secrets of Secret Manager, never reading their values. A delay lets their destruction be taken back.

Deleting a secret takes its versions at once, delay or not: it is deleted when all are destroyed. Regional secrets
(``projects/p/locations/l/secrets``) have other addresses, and are not looked for.
Source: https://cloud.google.com/secret-manager/docs/delay-destruction-of-secret-versions
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from switchyard.clients.google.decommission.access import Access, Api
from switchyard.clients.google.decommission.matching import (
    Listed,
    check_same,
    check_unchanged,
    find,
    find_manager,
    looked_at_again,
    over,
    to_digest,
)
from switchyard.clients.google.decommission.permissions import Permissions
from switchyard.clients.google.decommission.policies import Policies
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
from switchyard.core.errors import BadRequest, NotFound

DELAY_S: Final = 7 * 24 * 3600
_NEEDED: Final = (
    "secretmanager.secrets.get", "secretmanager.secrets.list", "secretmanager.secrets.update",
    "secretmanager.secrets.delete", "secretmanager.secrets.getIamPolicy", "secretmanager.versions.list",
    "secretmanager.versions.enable", "secretmanager.versions.disable", "secretmanager.versions.destroy",
)  # fmt: skip


class Secrets:
    """Implements `Cloud` over Secret Manager v1. Threads may share it.

    A secret is DELETED if all its versions are destroyed, or soon will be."""

    kind = Kind.SECRET

    def __init__(self, access: Access, project: str) -> None:
        self._api = Api(access, "secretmanager", "v1")
        self._policies = Policies(access)
        self._permissions = Permissions(access, project)

    def find(self, sought: Sought) -> Found:
        """See the port."""
        items = self._api.list_all(
            lambda client, token: (
                client.projects().secrets().list(parent=f"projects/{sought.project}", pageToken=token)
            ),
            "secrets",
            where=f"the secrets of projects/{sought.project}",
            permission="secretmanager.secrets.list",
        )
        listed = [
            # The API may answer with the project's number. We keep the name that was asked for.
            Listed(
                name=f"projects/{sought.project}/secrets/{item['name'].split('/')[-1]}",
                handles=(item["name"].split("/")[-1], item["name"]),
                labels=item.get("labels", {}),
            )
            for item in items
        ]
        found = find(self.kind, sought, listed, ["global"], self.describe)
        return msgspec.structs.replace(found, unseen=("regional secrets, which have addresses of their own",))

    def describe(self, name: str) -> Resource:
        """See the port. `parts` has its versions."""
        item = self._call(lambda secrets: secrets.get(name=name), "read", name, "secretmanager.secrets.get")
        versions = self._api.list_all(
            lambda client, token: client.projects().secrets().versions().list(parent=name, pageToken=token),
            "versions",
            where=f"the versions of {name}",
            permission="secretmanager.versions.list",
        )
        # Left out is what our own acts change one by one: the state of each version, and the delay.
        described = {key: value for key, value in item.items() if key not in ("etag", "versionDestroyTtl")}
        return Resource(
            kind=self.kind,
            name=name,
            unique_id=item.get("createTime", ""),
            version=to_digest([described, sorted(version["name"] for version in versions)]),
            activity=_to_activity(versions),
            description=item,
            policy=self._policies.read(name),
            parts={"versions": versions},
            managed_by=find_manager(item.get("labels", {})),
        )

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """See the port."""
        return self._permissions.find_missing(_NEEDED, lambda asked: self._policies.test(resource.name, asked))

    def prepare(self, resource: Resource) -> Operation:
        """See the port. What is destroyed from now on is only disabled for seven days."""
        now = self.describe(resource.name)
        check_same(resource, now)
        if now.description.get("versionDestroyTtl"):
            return over(now)
        check_unchanged(resource, now)
        body = {"versionDestroyTtl": f"{DELAY_S}s", "etag": now.description.get("etag", "")}
        self._call(
            lambda secrets: secrets.patch(name=now.name, updateMask="version_destroy_ttl", body=body),
            "delay the destruction of",
            now.name,
            "secretmanager.secrets.update",
        )
        return over(now)

    def stop(self, resource: Resource) -> Operation:
        """See the port. Disables each version. A second call goes on with those that the first did not reach."""
        now = self.describe(resource.name)
        check_same(resource, now)
        for version in now.parts["versions"]:
            if version["state"] == "ENABLED":
                check_unchanged(resource, now)
                self._change(version, "disable")
        return over(now)

    def start(self, saved: Resource) -> Operation:
        """See the port. Takes back a destruction that has not come yet.

        Raises also: NotFound: a version is destroyed; the others are as they were."""
        now = self.describe(saved.name)
        check_same(saved, now)
        held = {version["name"]: version for version in now.parts["versions"]}
        gone = []
        for wanted in saved.parts["versions"]:
            version = held.get(wanted["name"])
            if wanted["state"] == "DESTROYED":
                continue
            if version is None or version["state"] == "DESTROYED":
                gone.append(wanted["name"])
            elif version["state"] != wanted["state"] or version.get("scheduledDestroyTime"):
                self._change(version, "enable" if wanted["state"] == "ENABLED" else "disable")
        if gone:
            raise NotFound(f"{', '.join(gone)} is destroyed. Add a new version with the same value")
        return over(now)

    def delete(self, resource: Resource) -> Operation:
        """See the port. Needs two calls, with the delay between them.

        The first destroys all versions, which leaves an empty secret of activity DELETED. A call after they are
        destroyed deletes that."""
        try:
            now = self.describe(resource.name)
        except NotFound:
            return over(resource)
        check_unchanged(resource, now)
        left = [version for version in now.parts["versions"] if version["state"] != "DESTROYED"]
        if not left:
            etag = now.description.get("etag", "")
            with looked_at_again(now.name):
                self._call(
                    lambda secrets: secrets.delete(name=now.name, etag=etag),
                    "delete",
                    now.name,
                    "secretmanager.secrets.delete",
                )
            return over(now)
        if not now.description.get("versionDestroyTtl"):
            raise BadRequest(
                f"{now.name} has no delay of destruction: its versions would be gone at once. Prepare it first"
            )
        for version in left:
            if not version.get("scheduledDestroyTime"):
                self._change(version, "destroy")
        return over(now)

    def recover(self, saved: Resource) -> Operation:
        """See the port. Works while the versions wait for their destruction.

        A value is never saved, so there is no other way."""
        try:
            return self.start(saved)
        except NotFound as err:
            raise NotFound(f"{saved.name}: too late: {err}") from err

    def poll(self, operation: Operation) -> Progress:
        """See the port. Secrets have no long operations."""
        return Progress(done=True)

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """See the port: its versions that are not destroyed."""
        try:
            now = self.describe(saved.name)
        except NotFound:
            return ()
        return tuple(
            Kept(
                what=f"secret version {version['name']}",
                state=version["state"],
                until=_to_time(version.get("scheduledDestroyTime")),
                name=version["name"],
            )
            for version in now.parts["versions"]
            if version["state"] != "DESTROYED"
        )

    def _change(self, version: dict[str, Any], method: str) -> None:
        body = {"etag": version["etag"]} if version.get("etag") else {}
        self._call(
            lambda secrets: getattr(secrets.versions(), method)(name=version["name"], body=body),
            method,
            version["name"],
            f"secretmanager.versions.{method}",
        )

    def _call(self, make: Any, action: str, where: str, permission: str) -> dict[str, Any]:
        return self._api.call(
            lambda client: make(client.projects().secrets()), action=action, where=where, permission=permission
        )


def _to_activity(versions: list[dict[str, Any]]) -> Activity:
    if any(version["state"] == "ENABLED" for version in versions):
        return Activity.ACTIVE
    if versions and all(version["state"] == "DESTROYED" or version.get("scheduledDestroyTime") for version in versions):
        return Activity.DELETED
    return Activity.STOPPED


def _to_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
