"""Secret Manager v1: secrets and their versions, with delayed destruction. Never a value: nothing here asks for one.

Source, where a rule names no other: the descriptions in the discovery document secretmanager.v1 and
https://cloud.google.com/secret-manager/docs/delay-destruction-of-secret-versions
"""

from datetime import timedelta
from typing import Any

from tests.emulators.google.policies import Policies
from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World, from_stamp, route, to_stamp

MIN_DELAY_S = 24 * 3600


class Secrets(Service):
    """Secrets by ``projects/p/secrets/s``, versions below them."""

    api = "secretmanager"

    def __init__(self, world: World, policies: Policies) -> None:
        super().__init__(world)
        self.policies = policies
        self.secrets, self.versions = self.shelf("secrets"), self.shelf("versions")

    def plant_secret(self, short: str, versions: int = 1, **fields: Any) -> str:
        """A secret with enabled versions; returns its full name."""
        full = f"projects/{self.world.project}/secrets/{short}"
        self.secrets[full] = {
            "name": full,
            "createTime": self.world.stamp(),
            "etag": f'"{self.world.new_etag()}"',
            "replication": {"automatic": {}},
            **fields,
        }
        for number in range(1, versions + 1):
            name = f"{full}/versions/{number}"
            self.versions[name] = {"name": name, "createTime": self.world.stamp(), "state": "ENABLED"}
            self._touch(self.versions[name])
        return full

    def settle(self) -> None:
        """A version is destroyed when its delay is over."""
        for version in self.versions.values():
            due = version.get("scheduledDestroyTime")
            if due and from_stamp(due) <= self.world.now:
                self._destroy(version)

    @route("secretmanager.projects.secrets.get", "secretmanager.secrets.get")
    def get(self, call: Call) -> Json:
        return self._secret(call.path)

    @route("secretmanager.projects.secrets.list", "secretmanager.secrets.list")
    def list_all(self, call: Call) -> Json:
        return self.world.page(self.secrets.listed(call), call, "secrets", totalSize=len(self.secrets))

    @route("secretmanager.projects.secrets.patch", "secretmanager.secrets.update")
    def patch(self, call: Call) -> Json:
        secret = self._secret(call.path)
        self._check_etag(secret, call.body.get("etag", ""))
        delay = call.body.get("versionDestroyTtl")
        if delay and float(delay.removesuffix("s")) < MIN_DELAY_S:
            raise Refused(400, "version_destroy_ttl must be at least 24 hours")
        for key in call.one("updateMask").split(","):
            field = "".join(word.title() if n else word for n, word in enumerate(key.split("_")))
            secret.pop(field, None)
            if call.body.get(field):
                secret[field] = call.body[field]
        self._touch(secret)
        return secret

    @route("secretmanager.projects.secrets.delete", "secretmanager.secrets.delete")
    def delete(self, call: Call) -> Json:
        """Deletes the secret with all versions, at once.

        The delay is for versions only, and no method brings a secret back (inferred: the document has none).
        """
        secret = self._secret(call.path)
        self._check_etag(secret, call.one("etag"))
        self.secrets.take(call.path)
        for name in [name for name in self.versions if name.startswith(f"{call.path}/")]:
            self.versions.pop(name)
        self.policies.forget(f"secretmanager/{call.path}")
        return {}

    @route("secretmanager.projects.secrets.versions.list", "secretmanager.versions.list")
    def list_versions(self, call: Call) -> Json:
        self._secret(call.path.removesuffix("/versions"))
        return self.world.page(self.versions.listed(call, f"{call.path}/"), call, "versions")

    @route("secretmanager.projects.secrets.versions.disable", "secretmanager.versions.disable")
    def disable(self, call: Call) -> Json:
        return self._set(call, "DISABLED")

    @route("secretmanager.projects.secrets.versions.enable", "secretmanager.versions.enable")
    def enable(self, call: Call) -> Json:
        return self._set(call, "ENABLED")

    @route("secretmanager.projects.secrets.versions.destroy", "secretmanager.versions.destroy")
    def destroy(self, call: Call) -> Json:
        """With a delay on the secret, only disabled until it is over; else gone for good."""
        version = self._version(call)
        delay = self._secret(call.path.split("/versions/")[0]).get("versionDestroyTtl")
        if delay:
            due = self.world.now + timedelta(seconds=float(delay.removesuffix("s")))
            version.update(state="DISABLED", scheduledDestroyTime=to_stamp(due))
            self._touch(version)
        else:
            self._destroy(version)
        return version

    @route("secretmanager.projects.secrets.getIamPolicy", "secretmanager.secrets.getIamPolicy")
    def get_policy(self, call: Call) -> Json:
        self._secret(call.path)
        return self.policies.answer_get(f"secretmanager/{call.path}", call)

    @route("secretmanager.projects.secrets.setIamPolicy", "secretmanager.secrets.setIamPolicy")
    def set_policy(self, call: Call) -> Json:
        self._secret(call.path)
        return self.policies.write(f"secretmanager/{call.path}", call.body["policy"])

    @route("secretmanager.projects.secrets.testIamPermissions")
    def test(self, call: Call) -> Json:
        return self.world.test_permissions(call.body.get("permissions", ()))

    def _set(self, call: Call, state: str) -> Json:
        """Either takes a scheduled destruction back ("restore secret versions", same page)."""
        version = self._version(call)
        version.pop("scheduledDestroyTime", None)
        version["state"] = state
        self._touch(version)
        return version

    def _destroy(self, version: Json) -> None:
        version.pop("scheduledDestroyTime", None)
        version.update(state="DESTROYED", destroyTime=self.world.stamp())
        self._touch(version)

    def _touch(self, resource: Json) -> None:
        resource["etag"] = f'"{self.world.new_etag()}"'

    def _version(self, call: Call) -> Json:
        if call.path not in self.versions:
            raise Refused(404, f"Secret Version [{call.path}] not found.")
        version = self.versions[call.path]
        if version["state"] == "DESTROYED":
            raise Refused(400, f"Secret Version [{call.path}] is in DESTROYED state.", status="FAILED_PRECONDITION")
        self._check_etag(version, call.body.get("etag", ""))
        return version

    def _secret(self, full: str) -> Json:
        if full not in self.secrets:
            raise Refused(404, f"Secret [{full}] not found.")
        return self.secrets[full]

    @staticmethod
    def _check_etag(resource: Json, etag: str) -> None:
        """Source: the description of DeleteSecretRequest.etag: the request succeeds if it matches."""
        if etag and etag != resource["etag"]:
            raise Refused(400, "The etag of the resource does not match the request.", status="FAILED_PRECONDITION")
