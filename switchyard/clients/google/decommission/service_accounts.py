"""Takes away service accounts. Their bindings stay in policies: `bindings.py` takes those away before.

Source: https://cloud.google.com/iam/docs/service-accounts-delete-undelete, the discovery document iam.v1. Nothing asks
by ``projects/-/``: a missing account then answers 403, which says nothing.
"""

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
from switchyard.core.errors import NotFound

_NEEDED: Final = (
    "iam.serviceAccounts.get", "iam.serviceAccounts.list", "iam.serviceAccounts.disable", "iam.serviceAccounts.enable",
    "iam.serviceAccounts.delete", "iam.serviceAccounts.undelete", "iam.serviceAccounts.getIamPolicy",
    "iam.serviceAccountKeys.list",
)  # fmt: skip


class ServiceAccounts:
    """Implements `Cloud` over IAM v1. Threads may share it.

    An account is named by its e-mail, and acted on by its unique id."""

    kind = Kind.SERVICE_ACCOUNT

    def __init__(self, access: Access, project: str) -> None:
        self._api = Api(access, "iam", "v1")
        self._policies = Policies(access)
        self._permissions = Permissions(access, project)

    def find(self, sought: Sought) -> Found:
        """See the port. Accounts have no labels."""
        items = self._api.list_all(
            lambda client, token: (
                client.projects().serviceAccounts().list(name=f"projects/{sought.project}", pageToken=token)
            ),
            "accounts",
            where=f"the service accounts of projects/{sought.project}",
            permission="iam.serviceAccounts.list",
        )
        listed = [
            Listed(
                name=f"projects/{sought.project}/serviceAccounts/{item['email']}",
                handles=(item["email"], item["uniqueId"], item["email"].split("@")[0]),
            )
            for item in items
        ]
        return find(self.kind, sought, listed, ["global"], self.describe)

    def describe(self, name: str) -> Resource:
        """See the port. `parts` has its keys, without their secrets, which Google never shows."""
        item = self._call("get", name, "read", "iam.serviceAccounts.get")
        keys = self._api.call(
            lambda client: client.projects().serviceAccounts().keys().list(name=name, keyTypes="USER_MANAGED"),
            action="list the keys of",
            where=name,
            permission="iam.serviceAccountKeys.list",
        )
        # `etag` of an account is deprecated and does not change with it. Source: the discovery document.
        described = {key: value for key, value in item.items() if key not in ("etag", "disabled")}
        return Resource(
            kind=self.kind,
            name=name,
            unique_id=item["uniqueId"],
            version=to_digest([described, keys.get("keys", [])]),
            activity=Activity.STOPPED if item.get("disabled") else Activity.ACTIVE,
            description=item,
            policy=self._policies.read(name),
            parts={"keys": keys.get("keys", [])},
        )

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """See the port."""
        return self._permissions.find_missing(_NEEDED, lambda asked: self._policies.test(resource.name, asked))

    def prepare(self, resource: Resource) -> Operation:
        """See the port. Google always keeps a deleted account for 30 days."""
        check_same(resource, self.describe(resource.name))
        return over(resource)

    def stop(self, resource: Resource) -> Operation:
        """See the port. Works at once, also for tokens that it has. What runs as the account must be stopped before."""
        now = self.describe(resource.name)
        check_same(resource, now)
        if now.activity is Activity.ACTIVE:
            check_unchanged(resource, now)
            self._call("disable", _by_id(now), "disable", "iam.serviceAccounts.disable", body={})
        return over(now)

    def start(self, saved: Resource) -> Operation:
        """See the port."""
        now = self.describe(saved.name)
        check_same(saved, now)
        if saved.activity is Activity.ACTIVE and now.activity is not Activity.ACTIVE:
            self._call("enable", _by_id(now), "enable", "iam.serviceAccounts.enable", body={})
        elif saved.activity is not Activity.ACTIVE and now.activity is Activity.ACTIVE:
            self._call("disable", _by_id(now), "disable", "iam.serviceAccounts.disable", body={})
        return over(now)

    def delete(self, resource: Resource) -> Operation:
        """See the port."""
        try:
            now = self.describe(resource.name)
        except NotFound:
            return over(resource)
        check_unchanged(resource, now)
        with looked_at_again(now.name):
            self._call("delete", _by_id(now), "delete", "iam.serviceAccounts.delete")
        return over(now)

    def recover(self, saved: Resource) -> Operation:
        """See the port. Brings back the same account with its bindings, within 30 days. Google does not promise it.

        A new account of that name would be another one, so none is made."""
        try:
            self.describe(saved.name)
        except NotFound:
            try:
                self._call("undelete", _by_id(saved), "undelete", "iam.serviceAccounts.undelete", body={})
            except NotFound as err:
                raise NotFound(
                    f"{saved.name} was deleted more than 30 days ago, or Google no longer has it. Make a new account, "
                    "and give it the bindings that were saved"
                ) from err
        return self.start(saved)

    def poll(self, operation: Operation) -> Progress:
        """See the port. Accounts have no long operations."""
        return Progress(done=True)

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """See the port. No list has a deleted account: only `recover` tells whether Google still has it."""
        try:
            now = self.describe(saved.name)
        except NotFound:
            return ()
        return (
            Kept(what=f"account {now.unique_id}", state="DISABLED" if now.activity is Activity.STOPPED else "ENABLED"),
        )

    def _call(self, method: str, name: str, action: str, permission: str, **more: Any) -> dict[str, Any]:
        return self._api.call(
            lambda client: getattr(client.projects().serviceAccounts(), method)(name=name, **more),
            action=action,
            where=name,
            permission=permission,
        )


def _by_id(account: Resource) -> str:
    return f"{account.name.rsplit('/', 1)[0]}/{account.unique_id}"
