"""Policies of IAM, whatever they belong to: a project, a service, a secret, a bucket, an account.

Source: https://cloud.google.com/iam/docs/policies (etag, versions, conditions), /understanding-principals-deleted.
"""

import copy
import hashlib
import json
import re

from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World


class Policies(Service):
    """Each policy by the full name of what it belongs to: ``<api>/<name>``."""

    api = "policies"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.policies = self.shelf("policy")
        self.accounts: set[str] = set()  # e-mails that a policy may name; filled by the IAM service

    def plant(self, owner: str, *bindings: Json) -> None:
        """Gives `owner` a policy."""
        self.policies[owner] = {"bindings": list(bindings), "etag": self.world.new_etag()}

    def forget(self, owner: str) -> None:
        """The owner is gone, and its policy with it."""
        self.policies.pop(owner, None)

    def read(self, owner: str, requested_version: int) -> Json:
        """The policy as it is shown to one who asks for that version.

        Before version 3, a role with a condition is shown without the condition, by another name.

        Source: https://cloud.google.com/iam/docs/troubleshooting-withcond
        """
        policy = copy.deepcopy(self.policies.get(owner) or {"etag": "ACAB"})
        conditional = any("condition" in binding for binding in policy.get("bindings", ()))
        policy["version"] = 3 if conditional and requested_version >= 3 else 1
        if policy["version"] == 1:
            for binding in policy.get("bindings", ()):
                if "condition" in binding:
                    mark = hashlib.sha256(json.dumps(binding.pop("condition")).encode()).hexdigest()[:20]
                    binding["role"] += f"_withcond_{mark}"
        if not policy.get("bindings"):
            policy.pop("bindings", None)
        return policy

    def write(self, owner: str, given: Json) -> Json:
        """Replaces it. Raises Refused.

        Source: 409, https://github.com/GoogleCloudPlatform/django-cloud-deploy/issues/268; both forms of one account,
        https://github.com/GoogleCloudPlatform/k8s-config-connector/issues/279; an account that is not there,
        https://github.com/hashicorp/terraform-provider-google/issues/4276
        """
        held = self.policies.get(owner) or {"etag": "ACAB", "bindings": []}
        if given.get("etag") and given["etag"] != held["etag"]:
            said = (
                "There were concurrent policy changes. "
                "Please retry the whole read-modify-write with exponential backoff."
            )
            raise Refused(409, said, reason="aborted")
        bindings = [binding for binding in given.get("bindings", []) if binding.get("members")]
        if any("condition" in binding for binding in bindings) and given.get("version", 0) < 3:
            raise Refused(400, "Conditions can't be set if the policy version is not set to 3.")
        if any("_withcond_" in binding["role"] for binding in bindings):
            raise Refused(400, "Role (with a condition that was not shown) is not supported for this resource.")
        live, dead = set(), set()
        for binding in bindings:
            for member in binding["members"]:
                if found := re.fullmatch(r"serviceAccount:(.+)", member):
                    live.add(found[1])
                    if found[1].endswith(".iam.gserviceaccount.com") and found[1] not in self.accounts:
                        raise Refused(400, f"Service account {found[1]} does not exist.")
                elif found := re.fullmatch(r"deleted:serviceAccount:(.+)\?uid=\d+", member):
                    dead.add(found[1])
        if live & dead:
            raise Refused(400, f"Principal {sorted(live & dead)[0]} is both deleted and not: use one form.")
        self.policies[owner] = {
            "bindings": [{k: v for k, v in binding.items() if v} for binding in bindings],
            "etag": self.world.new_etag(),
        }
        return self.read(owner, 3)

    def rename(self, old: str, new: str) -> None:
        """A member's new name in all policies: an account was deleted, or undeleted.

        Source: https://cloud.google.com/iam/docs/principals-overview#deleted-principals
        """
        for policy in self.policies.values():
            for binding in policy["bindings"]:
                binding["members"] = [new if member == old else member for member in binding["members"]]

    def answer_get(self, owner: str, call: Call) -> Json:
        """For ``getIamPolicy`` by GET; the version is asked for in the query."""
        asked = call.one("options.requestedPolicyVersion") or call.one("optionsRequestedPolicyVersion")
        return self.read(owner, int(asked or 0))
