"""Cloud Storage's JSON API, its buckets' side: soft delete, generations, metagenerations, policies. No contents.

`tests/emulators/gcs.py` is the endpoint for contents. Source, where a rule names no other:
https://cloud.google.com/storage/docs/soft-delete, /docs/use-soft-deleted-buckets, /docs/json_api/v1/buckets
"""

from datetime import timedelta
from typing import Any

from tests.emulators.google.policies import Policies
from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World, from_stamp, route, to_stamp

WEEK_S = 7 * 24 * 3600


class Storage(Service):
    """Live buckets by name, soft-deleted ones by ``name#generation``; objects by ``bucket#its-generation/name#own``."""

    api = "storage"

    def __init__(self, world: World, policies: Policies) -> None:
        super().__init__(world)
        self.policies = policies
        self.buckets, self.deleted_buckets = self.shelf("buckets"), self.shelf("deleted_buckets")
        self.objects, self.deleted_objects = self.shelf("objects"), self.shelf("deleted_objects")

    def plant_bucket(self, name: str, soft_delete_s: int = WEEK_S, **fields: Any) -> str:
        """A bucket; returns its name."""
        self.buckets[name] = {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "projectNumber": self.world.number,
            "generation": self._new_generation(),
            "metageneration": "1",
            "location": "EUROPE-WEST1",
            "storageClass": "STANDARD",
            "timeCreated": self.world.stamp(),
            "updated": self.world.stamp(),
            "softDeletePolicy": {
                "retentionDurationSeconds": str(soft_delete_s),
                "effectiveTime": self.world.stamp(),  # the service's own. Source: the discovery document
            },
            **fields,
        }
        return name

    def plant_object(self, bucket: str, name: str, size: int = 10, **fields: Any) -> str:
        """An object's newest version; returns its generation."""
        generation = self._new_generation()
        self._put(bucket, name, generation, {"size": str(size), **fields})
        return generation

    def settle(self) -> None:
        """What is soft-deleted goes for good when its time is over."""
        for shelf in (self.deleted_buckets, self.deleted_objects):
            for key in [key for key, item in shelf.items() if from_stamp(item["hardDeleteTime"]) <= self.world.now]:
                shelf.pop(key)

    # Buckets.

    @route("storage.buckets.get", "storage.buckets.get")
    def get(self, call: Call) -> Json:
        name = call.params["bucket"]
        if call.one("softDeleted") == "true":
            found = self.deleted_buckets.get(f"{name}#{call.one('generation')}")
            if found is None:
                raise Refused(404, "The specified bucket does not exist.")
            return found
        return self._bucket(name)

    @route("storage.buckets.list", "storage.buckets.list")
    def list_all(self, call: Call) -> Json:
        shelf = self.deleted_buckets if call.one("softDeleted") == "true" else self.buckets
        return self.world.page(
            shelf.listed(call, call.one("prefix")), call, "items", "maxResults", kind="storage#buckets"
        )

    @route("storage.buckets.patch", "storage.buckets.update")
    def patch(self, call: Call) -> Json:
        bucket = self._bucket(call.params["bucket"])
        self._check_metageneration(bucket, call)
        kept = int(call.body.get("softDeletePolicy", {}).get("retentionDurationSeconds", WEEK_S))
        if kept and not WEEK_S <= kept <= 90 * 24 * 3600:
            raise Refused(400, "The soft delete retention duration must be 0 or between 7 and 90 days.")
        for key, value in call.body.items():
            bucket[key] = value
        self._touch(bucket)
        return bucket

    @route("storage.buckets.delete", "storage.buckets.delete")
    def delete(self, call: Call) -> None:
        """Only an empty one; soft-deleted objects do not count.

        Source: https://cloud.google.com/storage/docs/deleting-buckets
        """
        name = call.params["bucket"]
        bucket = self._bucket(name)
        self._check_metageneration(bucket, call)
        if self._of(bucket):
            raise Refused(409, "The bucket you tried to delete is not empty.")
        self.buckets.take(name)
        kept = int(bucket["softDeletePolicy"]["retentionDurationSeconds"])
        if kept:
            until = to_stamp(self.world.now + timedelta(seconds=kept))
            gone = {**bucket, "softDeleteTime": self.world.stamp(), "hardDeleteTime": until}
            self.deleted_buckets[f"{name}#{bucket['generation']}"] = gone
            policy = self.policies.policies.get(f"storage/{name}")
            if policy:
                self.policies.policies[f"storage/{name}#{bucket['generation']}"] = policy
        self.policies.forget(f"storage/{name}")

    @route("storage.buckets.restore", "storage.buckets.restore")
    def restore(self, call: Call) -> Json:
        """By its generation; not where a live bucket has the name."""
        name, key = call.params["bucket"], f"{call.params['bucket']}#{call.one('generation')}"
        if name in self.buckets:
            raise Refused(409, "A bucket of that name is live.")
        if key not in self.deleted_buckets:
            raise Refused(404, "The specified bucket does not exist.")
        bucket = self.deleted_buckets.pop(key)
        self.buckets[name] = {k: v for k, v in bucket.items() if k not in ("softDeleteTime", "hardDeleteTime")}
        self._touch(self.buckets[name])
        policy = self.policies.policies.pop(f"storage/{key}", None)
        if policy:
            self.policies.policies[f"storage/{name}"] = policy
        return self.buckets[name]

    @route("storage.buckets.getIamPolicy", "storage.buckets.getIamPolicy")
    def get_policy(self, call: Call) -> Json:
        self._bucket(call.params["bucket"])
        return {"kind": "storage#policy", **self.policies.answer_get(f"storage/{call.params['bucket']}", call)}

    @route("storage.buckets.setIamPolicy", "storage.buckets.setIamPolicy")
    def set_policy(self, call: Call) -> Json:
        """An etag that is not the current one: 412.

        Source: https://cloud.google.com/storage/docs/json_api/v1/buckets/setIamPolicy
        """
        bucket = self._bucket(call.params["bucket"])
        try:
            policy = self.policies.write(f"storage/{bucket['name']}", call.body)
        except Refused as err:
            raise Refused(412, err.message) if err.code == 409 else err from err
        # Whether this changes the bucket's metageneration, no source says; who reads it again is right either way.
        self._touch(bucket)
        return {"kind": "storage#policy", **policy}

    @route("storage.buckets.testIamPermissions")
    def test(self, call: Call) -> Json:
        return {"kind": "storage#testIamPermissionsResponse", **self.world.test_permissions(call.query["permissions"])}

    # Objects.

    @route("storage.objects.list", "storage.objects.list")
    def list_objects(self, call: Call) -> Json:
        bucket = self._bucket(call.params["bucket"])
        if call.one("softDeleted") == "true":
            found = self._of(bucket, self.deleted_objects)
        else:
            found = self._of(bucket)
            if call.one("versions") != "true":
                found = [item for item in found if "timeDeleted" not in item]
        ordered = sorted(found, key=lambda item: (item["name"], int(item["generation"])))
        return self.world.page(ordered, call, "items", "maxResults", kind="storage#objects")

    @route("storage.objects.delete", "storage.objects.delete")
    def delete_object(self, call: Call) -> None:
        """With a generation: that version, for good but for soft delete.

        Without: the live one becomes noncurrent where versions are kept. Source:
        https://cloud.google.com/storage/docs/object-versioning
        """
        bucket = self._bucket(call.params["bucket"])
        generation = call.one("generation")
        if not generation:
            raise Refused(501, "to delete without a generation: this endpoint does not")
        key = f"{_place(bucket)}/{call.params['object']}#{generation}"
        if key not in self.objects:
            raise Refused(404, f"No such object: {bucket['name']}/{call.params['object']}")
        item = self.objects[key]
        if item.get("temporaryHold") or item.get("eventBasedHold"):
            said = f"Object '{bucket['name']}/{item['name']}' is under active Temporary hold and cannot be deleted."
            raise Refused(403, said, reason="forbidden")
        self.objects.take(key)
        kept = int(bucket["softDeletePolicy"]["retentionDurationSeconds"])
        if kept:
            until = to_stamp(self.world.now + timedelta(seconds=kept))
            self.deleted_objects[key] = {**item, "softDeleteTime": self.world.stamp(), "hardDeleteTime": until}

    @route("storage.objects.restore", "storage.objects.restore")
    def restore_object(self, call: Call) -> Json:
        """A copy of it becomes the live version, with a new generation.

        Source: https://cloud.google.com/storage/docs/use-soft-deleted-objects
        """
        bucket = self._bucket(call.params["bucket"])
        self.world.check_allowed("storage.objects.create", bucket["name"], "storage")
        key = f"{_place(bucket)}/{call.params['object']}#{call.one('generation')}"
        if key not in self.deleted_objects:
            raise Refused(404, f"No such soft-deleted object: {bucket['name']}/{call.params['object']}")
        item = {
            k: v
            for k, v in self.deleted_objects[key].items()
            if k not in ("softDeleteTime", "hardDeleteTime", "timeDeleted", "generation", "name", "bucket", "id")
        }
        generation = self._new_generation()
        self._put(bucket["name"], call.params["object"], generation, item)
        return self.objects[f"{_place(bucket)}/{call.params['object']}#{generation}"]

    def _put(self, bucket_name: str, name: str, generation: str, fields: Json) -> None:
        bucket = self.buckets[bucket_name]
        for key, held in list(self.objects.items()):
            if key.startswith(f"{_place(bucket)}/{name}#") and "timeDeleted" not in held:
                held["timeDeleted"] = self.world.stamp()
                if not bucket.get("versioning", {}).get("enabled"):
                    self.objects.take(key)
        self.objects[f"{_place(bucket)}/{name}#{generation}"] = {
            "kind": "storage#object",
            "id": f"{bucket_name}/{name}/{generation}",
            "timeCreated": self.world.stamp(),
            **fields,
            "name": name,
            "bucket": bucket_name,
            "generation": generation,
            "metageneration": "1",
        }

    def _of(self, bucket: Json, shelf: Any = None) -> list[Json]:
        return [
            item
            for key, item in (self.objects if shelf is None else shelf).items()
            if key.startswith(f"{_place(bucket)}/")
        ]

    def _touch(self, bucket: Json) -> None:
        bucket["metageneration"] = str(int(bucket["metageneration"]) + 1)
        bucket["updated"] = self.world.stamp()

    def _new_generation(self) -> str:
        return str(1_760_000_000_000_000 + int(self.world.new_id()))

    def _bucket(self, name: str) -> Json:
        if name not in self.buckets:
            raise Refused(404, "The specified bucket does not exist.")
        return self.buckets[name]

    @staticmethod
    def _check_metageneration(bucket: Json, call: Call) -> None:
        wanted = call.one("ifMetagenerationMatch")
        if wanted and wanted != bucket["metageneration"]:
            raise Refused(412, "At least one of the pre-conditions you specified did not hold.")


def _place(bucket: Json) -> str:
    return f"{bucket['name']}#{bucket['generation']}"
