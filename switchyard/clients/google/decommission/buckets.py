"""Takes away buckets, with every version of every object.

What is deleted can be restored for as long as its soft delete says, by the generations that were recorded before.

Source: https://cloud.google.com/storage/docs/soft-delete, /docs/use-soft-deleted-buckets,
/docs/use-soft-deleted-objects
"""

from datetime import datetime
from typing import Any, Final

from google.cloud import storage

from switchyard.clients.google.decommission.access import TIMEOUT_S, Access
from switchyard.clients.google.decommission.errors import translated
from switchyard.clients.google.decommission.matching import (
    Listed,
    check_same,
    check_unchanged,
    find,
    find_manager,
    looked_at_again,
    over,
)
from switchyard.clients.google.decommission.permissions import Permissions
from switchyard.clients.google.decommission.policies import Policies
from switchyard.core.decommission.resources import (
    Found,
    Kept,
    Kind,
    Operation,
    Progress,
    Resource,
    Sought,
)
from switchyard.core.errors import BadRequest, NotFound, StaleWrite

SOFT_DELETE_S: Final = 7 * 24 * 3600
_NEEDED: Final = (
    "storage.buckets.get", "storage.buckets.list", "storage.buckets.update", "storage.buckets.delete",
    "storage.buckets.restore", "storage.buckets.getIamPolicy", "storage.objects.list", "storage.objects.delete",
    "storage.objects.restore", "storage.objects.create",
)  # fmt: skip
_HOW: Final[dict[str, Any]] = {"timeout": TIMEOUT_S, "retry": None}
"""One retry layer: a task's."""


class Buckets:
    """Implements `Cloud` over Cloud Storage. Threads may share it.

    All versions of all objects are listed with each description: one call for each thousand. A restoration goes by
    them, and a newer one means that someone still writes."""

    kind = Kind.BUCKET

    def __init__(self, access: Access, project: str) -> None:
        self._client = storage.Client(
            project=project,
            credentials=access.credentials,
            client_options={"api_endpoint": access.endpoint} if access.endpoint else None,
        )
        self._policies = Policies(access)
        self._permissions = Permissions(access, project)

    def find(self, sought: Sought) -> Found:
        """See the port. One list holds the buckets of all places."""
        with translated("list", f"the buckets of projects/{sought.project}", "storage.buckets.list"):
            items = [bucket._properties for bucket in self._client.list_buckets(project=sought.project, **_HOW)]
        listed = [
            Listed(
                name=_to_name(item["name"]),
                handles=(item["name"], f"gs://{item['name']}"),
                labels=item.get("labels", {}),
            )
            for item in items
        ]
        return find(self.kind, sought, listed, ["global"], self.describe)

    def describe(self, name: str) -> Resource:
        """See the port. `parts` has every version of every object.

        It has each version's name, generation, bytes, checksum, and whether it is the live one."""
        bucket = self._get(name)
        item = dict(bucket._properties)
        objects, guards = self._list_objects(name)
        if item.get("retentionPolicy"):
            locked = " and locked" if item["retentionPolicy"].get("isLocked") else ""
            guards.append(f"{name} has a retention policy{locked}: {item['retentionPolicy']}")
        return Resource(
            kind=self.kind,
            name=name,
            unique_id=str(item.get("generation", "")),
            version=str(item["metageneration"]),
            description=item,
            policy=self._policies.read(name),
            parts={"objects": objects, "bytes": sum(int(one["size"]) for one in objects)},
            managed_by=find_manager(item.get("labels", {})),
            guards=tuple(guards),
        )

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """See the port."""
        return self._permissions.find_missing(_NEEDED, lambda asked: self._policies.test(resource.name, asked))

    def prepare(self, resource: Resource) -> Operation:
        """See the port. What is deleted from now on is kept for seven days, or longer if it was longer."""
        now = self.describe(resource.name)
        check_same(resource, now)
        if _to_kept_s(now) >= SOFT_DELETE_S:
            return over(now)
        check_unchanged(resource, now)
        with translated("set the soft delete of", now.name, "storage.buckets.update"):
            bucket = self._get(
                now.name
            )  # for a bucket that was not read, the client would send an effectiveTime of null
            bucket.soft_delete_policy.retention_duration_seconds = SOFT_DELETE_S
            bucket.patch(if_metageneration_match=int(now.version), **_HOW)
        return over(now)

    def stop(self, resource: Resource) -> Operation:
        """See the port. A bucket cannot be stopped: it stays as it is, and ACTIVE.

        What writes to it is stopped. `delete` finds a write that still comes, and refuses."""
        now = self.describe(resource.name)
        check_same(resource, now)
        return over(now)

    def start(self, saved: Resource) -> Operation:
        """See the port. Does nothing, as `stop`."""
        now = self.describe(saved.name)
        check_same(saved, now)
        return over(now)

    def delete(self, resource: Resource) -> Operation:
        """See the port. Deletes all versions of all objects, then the bucket. A second call goes on.

        Raises also: StaleWrite: an object is newer than those in `resource`."""
        try:
            now = self.describe(resource.name)
        except NotFound:
            return over(resource)
        check_unchanged(resource, now)
        _check_deletable(resource, now)
        bucket = self._client.bucket(_to_short(now.name))
        # The newest first: what a broken-off deletion leaves is older than all that `recover` puts above it.
        for one in sorted(now.parts["objects"], key=lambda one: -int(one["generation"])):
            with translated("delete", f"{now.name}/{one['name']}", "storage.objects.delete"):
                try:
                    bucket.delete_blob(one["name"], generation=int(one["generation"]), **_HOW)
                except _not_found():
                    continue  # an earlier call deleted it, and its answer was lost
        with looked_at_again(now.name), translated("delete", now.name, "storage.buckets.delete"):
            bucket.delete(if_metageneration_match=int(now.version), **_HOW)
        return over(now)

    def recover(self, saved: Resource) -> Operation:
        """See the port. Restores the bucket by its generation, then its objects.

        The oldest version comes first, and each gets a new generation. So the live one is live again at the end."""
        name, short = saved.name, _to_short(saved.name)
        try:
            now = self.describe(name)
        except NotFound:
            with translated("restore", name, "storage.buckets.restore"):
                try:
                    self._client.restore_bucket(short, generation=int(saved.unique_id), **_HOW)
                except _not_found() as err:
                    raise NotFound(
                        f"{name} is gone for good: its soft delete is over. Restore the export instead"
                    ) from err
            now = self.describe(name)
        if now.unique_id != saved.unique_id:
            raise StaleWrite(f"{name} is there, and it is another one: its generation is {now.unique_id}")
        self._restore_objects(saved, now)
        return over(now)

    def poll(self, operation: Operation) -> Progress:
        """See the port. Everything is done by short calls."""
        return Progress(done=True)

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """See the port: the soft-deleted bucket, or soft-deleted objects of the live one."""
        short = _to_short(saved.name)
        with translated("list what is kept of", saved.name, "storage.buckets.list"):
            buckets = [
                bucket._properties
                for bucket in self._client.list_buckets(prefix=short, soft_deleted=True, **_HOW)
                if bucket.name == short and str(bucket._properties.get("generation")) == saved.unique_id
            ]
        kept = [
            Kept(
                what=f"bucket {item['name']}, generation {item['generation']}",
                state="SOFT_DELETED",
                until=_to_time(item["hardDeleteTime"]),
                name=saved.name,  # it is billed under its own name
            )
            for item in buckets
        ]
        try:
            deleted = self._list_deleted(saved.name)
        except NotFound:
            return tuple(kept)
        return (
            *kept,
            *(
                Kept(
                    what=f"object {item['name']}, generation {item['generation']}",
                    state="SOFT_DELETED",
                    until=_to_time(item["hardDeleteTime"]),
                )
                for item in deleted
            ),
        )

    def _restore_objects(self, saved: Resource, now: Resource) -> None:
        """Restores each object that was deleted, in the order in which they were written.

        What a first call restored has a generation that was not saved. As many of that name are left out, the oldest
        first.

        Raises: NotFound: some are gone for good; all others were restored."""
        deleted = {(item["name"], str(item["generation"])) for item in self._list_deleted(now.name)}
        before = {one["generation"] for one in saved.parts["objects"]}
        there = {one["generation"] for one in now.parts["objects"]}
        restored: dict[str, int] = {}
        for one in now.parts["objects"]:
            restored[one["name"]] = restored.get(one["name"], 0) + (one["generation"] not in before)
        bucket = self._client.bucket(_to_short(now.name))
        lost = []
        for one in sorted(saved.parts["objects"], key=lambda one: int(one["generation"])):
            name = one["name"]
            if one["generation"] in there:
                continue
            if restored.get(name, 0):
                restored[name] -= 1
                continue
            if (name, one["generation"]) not in deleted:
                lost.append(f"{name}, generation {one['generation']}")
                continue
            with translated("restore", f"{now.name}/{name}", "storage.objects.restore"):
                bucket.restore_blob(name, generation=int(one["generation"]), **_HOW)
        if lost:
            raise NotFound(
                f"{len(lost)} objects of {now.name} are gone for good, such as {lost[0]}; all others are back"
            )

    def _get(self, name: str) -> Any:
        with translated("read", name, "storage.buckets.get"):
            return self._client.get_bucket(_to_short(name), **_HOW)

    def _list_objects(self, name: str) -> tuple[list[dict[str, Any]], list[str]]:
        objects, guards = [], []
        with translated("list the objects of", name, "storage.objects.list"):
            for blob in self._client.list_blobs(_to_short(name), versions=True, **_HOW):
                item = blob._properties
                objects.append(
                    {
                        "name": item["name"],
                        "generation": str(item["generation"]),
                        "size": str(item.get("size", "0")),
                        "live": "timeDeleted" not in item,
                        "crc32c": item.get("crc32c", ""),
                    }
                )
                if item.get("temporaryHold") or item.get("eventBasedHold"):
                    guards.append(f"{name}/{item['name']}, generation {item['generation']}, is held")
        return objects, guards

    def _list_deleted(self, name: str) -> list[dict[str, Any]]:
        with translated("list the deleted objects of", name, "storage.objects.list"):
            blobs = self._client.list_blobs(_to_short(name), soft_deleted=True, **_HOW)
            return [dict(blob._properties) for blob in blobs]


def _check_deletable(resource: Resource, now: Resource) -> None:
    if now.guards:
        raise BadRequest("; ".join(now.guards))
    if not _to_kept_s(now):
        raise BadRequest(f"{now.name} has no soft delete: its objects would be gone at once. Prepare it first")
    known = {one["generation"] for one in resource.parts.get("objects", ())}
    newer = [one for one in now.parts["objects"] if one["generation"] not in known]
    if newer:
        raise StaleWrite(
            f"{now.name} has {len(newer)} objects that were not there, such as {newer[0]['name']}: someone still "
            "writes. Find out who, then make the inventory again"
        )


def _to_kept_s(bucket: Resource) -> int:
    return int(bucket.description.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0))


def _to_name(short: str) -> str:
    return f"projects/_/buckets/{short}"


def _to_short(name: str) -> str:
    return name.split("/")[-1]


def _to_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _not_found() -> type[Exception]:
    from google.api_core.exceptions import NotFound as Missing

    return Missing
