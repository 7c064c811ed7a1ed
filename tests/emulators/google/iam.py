"""IAM v1 (service accounts) and Resource Manager v3 (the project's policy).

Source, where a rule names no other: the descriptions in the discovery document iam.v1.
"""

from datetime import timedelta

from tests.emulators.google.policies import Policies
from tests.emulators.google.refusing import Refused, denied
from tests.emulators.google.world import Call, Json, Service, World, from_stamp, route

UNDELETE_DAYS = 30


class Iam(Service):
    """Accounts by ``projects/p/serviceAccounts/<e-mail>``; deleted ones by their unique id."""

    api = "iam"

    def __init__(self, world: World, policies: Policies) -> None:
        super().__init__(world)
        self.policies = policies
        self.accounts, self.deleted, self.keys = self.shelf("accounts"), self.shelf("deleted"), self.shelf("keys")

    def plant_account(self, short: str, **fields: object) -> str:
        """An account; returns its e-mail."""
        email = f"{short}@{self.world.project}.iam.gserviceaccount.com"
        full = f"projects/{self.world.project}/serviceAccounts/{email}"
        self.accounts[full] = {
            "name": full,
            "projectId": self.world.project,
            "uniqueId": f"1{int(self.world.new_id()):020d}",
            "email": email,
            "etag": self.world.new_etag(),
            **fields,
        }
        self.policies.accounts.add(email)
        return email

    def settle(self) -> None:
        """After 30 days a deleted account is gone for good."""
        for uid, held in list(self.deleted.items()):
            if from_stamp(held["deletedAt"]) + timedelta(days=UNDELETE_DAYS) <= self.world.now:
                self.deleted.pop(uid)

    @route("iam.projects.serviceAccounts.get", "iam.serviceAccounts.get")
    def get(self, call: Call) -> Json:
        return self._account(call, "iam.serviceAccounts.get")

    @route("iam.projects.serviceAccounts.list", "iam.serviceAccounts.list")
    def list_all(self, call: Call) -> Json:
        return self.world.page(self.accounts.listed(call), call, "accounts")

    @route("iam.projects.serviceAccounts.disable", "iam.serviceAccounts.disable")
    def disable(self, call: Call) -> Json:
        account = self._account(call, "iam.serviceAccounts.disable")
        account.update(disabled=True, etag=self.world.new_etag())
        return {}

    @route("iam.projects.serviceAccounts.enable", "iam.serviceAccounts.enable")
    def enable(self, call: Call) -> Json:
        account = self._account(call, "iam.serviceAccounts.enable")
        account.pop("disabled", None)
        account["etag"] = self.world.new_etag()
        return {}

    @route("iam.projects.serviceAccounts.delete", "iam.serviceAccounts.delete")
    def delete(self, call: Call) -> Json:
        """Bindings stay, by another name.

        Source: https://cloud.google.com/iam/docs/service-accounts-delete-undelete
        """
        account = self.accounts.take(self._account(call, "iam.serviceAccounts.delete")["name"])
        self.deleted[account["uniqueId"]] = {**account, "deletedAt": self.world.stamp()}
        email, uid = account["email"], account["uniqueId"]
        self.policies.accounts.discard(email)
        self.policies.rename(f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={uid}")
        return {}

    @route("iam.projects.serviceAccounts.undelete", "iam.serviceAccounts.undelete")
    def undelete(self, call: Call) -> Json:
        """By the unique id, for 30 days, and where no namesake was made since."""
        uid = call.params["serviceAccountsId"]
        if uid not in self.deleted:
            raise Refused(404, f"Service account {uid} does not exist.")
        email = self.deleted[uid]["email"]
        if email in self.policies.accounts:
            raise Refused(409, f"Service account {email} already exists.", status="ALREADY_EXISTS")
        account = self.deleted.pop(uid)
        account.pop("deletedAt")
        self.accounts[account["name"]] = {**account, "etag": self.world.new_etag()}
        self.policies.accounts.add(email)
        self.policies.rename(f"deleted:serviceAccount:{email}?uid={uid}", f"serviceAccount:{email}")
        return {"restoredAccount": self.accounts[account["name"]]}

    @route("iam.projects.serviceAccounts.keys.list", "iam.serviceAccountKeys.list")
    def list_keys(self, call: Call) -> Json:
        below = call.path.removesuffix("/keys")
        held = [key for key in self.keys.values() if key["name"].startswith(f"{below}/")]
        return {"keys": held} if held else {}

    @route("iam.projects.serviceAccounts.getIamPolicy", "iam.serviceAccounts.getIamPolicy")
    def get_policy(self, call: Call) -> Json:
        return self.policies.answer_get(f"iam/{self._account(call, 'iam.serviceAccounts.getIamPolicy')['name']}", call)

    @route("iam.projects.serviceAccounts.setIamPolicy", "iam.serviceAccounts.setIamPolicy")
    def set_policy(self, call: Call) -> Json:
        owner = self._account(call, "iam.serviceAccounts.setIamPolicy")["name"]
        return self.policies.write(f"iam/{owner}", call.body["policy"])

    @route("iam.projects.serviceAccounts.testIamPermissions")
    def test(self, call: Call) -> Json:
        return self.world.test_permissions(call.body.get("permissions", ()))

    def _account(self, call: Call, permission: str) -> Json:
        """With ``projects/-/`` an account that is not there is one that the caller may not use: 403, not 404.

        Source: the description of serviceAccounts.delete: "Do not use the `-` wildcard character".
        """
        project, short = call.path.split("/")[1], call.path.split("/")[3]
        found = [
            a
            for a in self.accounts.values()
            if short in (a["email"], a["uniqueId"]) and project in ("-", a["projectId"])
        ]
        if not found and project == "-":
            raise denied(permission, call.path, "iam")
        if not found:
            raise Refused(404, f"Unknown service account: {short}")
        return found[0]


class ResourceManager(Service):
    """The one project."""

    api = "cloudresourcemanager"

    def __init__(self, world: World, policies: Policies) -> None:
        super().__init__(world)
        self.policies = policies

    @route("cloudresourcemanager.projects.getIamPolicy", "resourcemanager.projects.getIamPolicy")
    def get_policy(self, call: Call) -> Json:
        """The version that is wanted is in the body. Source: the description of GetPolicyOptions."""
        asked = call.body.get("options", {}).get("requestedPolicyVersion", 0)
        return self.policies.read(f"project/{self._project(call)}", asked)

    @route("cloudresourcemanager.projects.setIamPolicy", "resourcemanager.projects.setIamPolicy")
    def set_policy(self, call: Call) -> Json:
        return self.policies.write(f"project/{self._project(call)}", call.body["policy"])

    @route("cloudresourcemanager.projects.testIamPermissions")
    def test(self, call: Call) -> Json:
        return self.world.test_permissions(call.body.get("permissions", ()))

    def _project(self, call: Call) -> str:
        """One that is not there is one that the caller may not see."""
        if call.path != f"projects/{self.world.project}":
            raise denied("resourcemanager.projects.get", call.path, "cloudresourcemanager")
        return self.world.project
