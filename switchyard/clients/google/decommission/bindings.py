"""Finds what policies give to the deployment's accounts: the project's policy, and those of single resources.

These are services, jobs, secrets, buckets and accounts. Each policy and member is one resource with all its roles, so
one write takes them away.

A deleted account stays in policies as ``deleted:serviceAccount:...``; that form is found too.
Source: https://cloud.google.com/iam/docs/policies, /iam/docs/principals-overview#deleted-principals
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.clients.google.decommission.access import Access, Api
from switchyard.clients.google.decommission.matching import Listed, check_unchanged, find, over, to_digest
from switchyard.clients.google.decommission.permissions import Permissions
from switchyard.clients.google.decommission.places import Places
from switchyard.clients.google.decommission.policies import Policies, to_permissions
from switchyard.clients.google.decommission.runners import list_runners
from switchyard.core.decommission.resources import (
    Found,
    Kept,
    Kind,
    Operation,
    Progress,
    Resource,
    Sought,
)
from switchyard.core.errors import NotFound, StaleWrite

_ACCOUNT: Final = "serviceAccount:"
_UNSEEN: Final = "policies of other projects, of folders, and of kinds that are not listed here"


class Bindings:
    """Implements `Cloud` over policies. Threads may share it.

    A binding is named ``<owner>#<member>``. Its version is a digest of what the policy gives to that member, because
    the policy's own etag changes with every member's."""

    kind = Kind.BINDING

    def __init__(self, access: Access, project: str) -> None:
        self._policies = Policies(access)
        self._permissions = Permissions(access, project)
        self._places = Places(access)
        self._owners = _Owners(access)

    def find(self, sought: Sought) -> Found:
        """See the port. The members are `names` of accounts (or of this kind), and references that are e-mails.

        Each policy is read: one call for each resource of the project."""
        wanted = {*sought.names.get(Kind.SERVICE_ACCOUNT, ()), *sought.names.get(Kind.BINDING, ())}
        wanted |= {reference for reference in sought.references if "@" in reference}
        listed, places = [], []
        for owner in self._owners.list_all(sought.project, self._places.list_run(sought)):
            try:
                policy = self._policies.read(owner)
            except NotFound:  # it was deleted since it was listed
                continue
            places.append(owner)
            for member in sorted({member for binding in policy.get("bindings", ()) for member in binding["members"]}):
                email = _to_email(member)
                listed.append(
                    Listed(
                        name=f"{owner}#{member}",
                        handles=(member,),
                        found_by=(f"member {email}",) if email in wanted else (),
                    )
                )
        found = find(self.kind, sought, listed, places, self.describe)
        return msgspec.structs.replace(found, unseen=(_UNSEEN,))

    def describe(self, name: str) -> Resource:
        """See the port. Raises NotFound also if the policy gives that member nothing."""
        owner, member = name.split("#", 1)
        policy = self._policies.read(owner)
        roles = _find_roles(policy, member)
        if not roles:
            raise NotFound(f"{owner} gives nothing to {member}")
        return Resource(
            kind=self.kind,
            name=name,
            unique_id=member,
            version=to_digest(roles),
            description={"owner": owner, "member": member, "roles": roles},
            policy=policy,
        )

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """See the port."""
        owner = resource.name.split("#", 1)[0]
        return self._permissions.find_missing(to_permissions(owner), lambda asked: self._policies.test(owner, asked))

    def prepare(self, resource: Resource) -> Operation:
        """See the port. The policy was saved; there is nothing else to prepare."""
        return over(self.describe(resource.name))

    def stop(self, resource: Resource) -> Operation:
        """See the port. A binding cannot be stopped: it stays as it is, and ACTIVE. Stop its account."""
        return over(self.describe(resource.name))

    def start(self, saved: Resource) -> Operation:
        """See the port. Does nothing, as `stop`."""
        return over(self.describe(saved.name))

    def delete(self, resource: Resource) -> Operation:
        """See the port. Takes all roles of the member in that policy, and nothing else of it.

        Raises also: TryAgain: someone wrote the policy in between."""
        try:
            now = self.describe(resource.name)
        except NotFound:
            return over(resource)
        check_unchanged(resource, now)
        member = now.unique_id
        bindings = [
            {**binding, "members": [other for other in binding["members"] if other != member]}
            for binding in now.policy["bindings"]
        ]
        kept = [binding for binding in bindings if binding["members"]]
        self._policies.write(now.description["owner"], {**now.policy, "bindings": kept})
        return over(now)

    def recover(self, saved: Resource) -> Operation:
        """See the port. Puts the same roles into the policy as it is now.

        Raises: StaleWrite: the member has other roles there now; BadRequest: the account is not there; NotFound: the
        owner is not."""
        owner, member = saved.name.split("#", 1)
        policy = self._policies.read(owner)
        held = _find_roles(policy, member)
        wanted = saved.description["roles"]
        if held == wanted:
            return over(saved)
        if any(role not in wanted for role in held):
            raise StaleWrite(f"{owner} gives {member} other roles now: {held}. Decide which are right")
        bindings = [dict(binding) for binding in policy.get("bindings", ())]
        for role in wanted:
            same = [binding for binding in bindings if _to_role(binding) == role]
            if same and member not in same[0]["members"]:
                same[0]["members"] = _insert(same[0]["members"], member, _find_before(saved.policy, role))
            elif not same:
                bindings.append({**role, "members": [member]})
        self._policies.write(owner, {**policy, "bindings": _order(bindings, saved.policy)})
        return over(saved)

    def poll(self, operation: Operation) -> Progress:
        """See the port. Policies have no long operations."""
        return Progress(done=True)

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """See the port: nothing but what was saved."""
        return ()


class _Owners:
    """Lists everything in a project that has its own policy, of the kinds that a deployment of MLflow has."""

    def __init__(self, access: Access) -> None:
        self._run = Api(access, "run", "v2")
        self._secrets = Api(access, "secretmanager", "v1")
        self._accounts = Api(access, "iam", "v1")
        self._storage = Api(access, "storage", "v1")

    def list_all(self, project: str, regions: Sequence[str]) -> list[str]:
        parent = f"projects/{project}"
        owners = [parent]
        for region in regions:
            owners += [item["name"] for item in list_runners(self._run, f"{parent}/locations/{region}")]
        secrets = self._secrets.list_all(
            lambda client, token: client.projects().secrets().list(parent=parent, pageToken=token),
            "secrets",
            where=f"the secrets of {parent}",
            permission="secretmanager.secrets.list",
        )
        accounts = self._accounts.list_all(
            lambda client, token: client.projects().serviceAccounts().list(name=parent, pageToken=token),
            "accounts",
            where=f"the service accounts of {parent}",
            permission="iam.serviceAccounts.list",
        )
        buckets = self._storage.list_all(
            lambda client, token: client.buckets().list(project=project, pageToken=token),
            "items",
            where=f"the buckets of {parent}",
            permission="storage.buckets.list",
        )
        owners += [f"{parent}/secrets/{item['name'].split('/')[-1]}" for item in secrets]
        owners += [f"{parent}/serviceAccounts/{item['email']}" for item in accounts]
        owners += [f"projects/_/buckets/{item['name']}" for item in buckets]
        return owners


def _to_email(member: str) -> str:
    """Returns the account that a member is, deleted or not; empty: it is not an account."""
    live = member.removeprefix("deleted:")
    return live.removeprefix(_ACCOUNT).split("?")[0] if live.startswith(_ACCOUNT) else ""


def _to_role(binding: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a binding without its members: the role, and its condition."""
    return {key: value for key, value in binding.items() if key != "members"}


def _find_roles(policy: Mapping[str, Any], member: str) -> list[dict[str, Any]]:
    found = [_to_role(binding) for binding in policy.get("bindings", ()) if member in binding["members"]]
    return sorted(found, key=to_digest)


def _find_before(policy: Mapping[str, Any], role: Mapping[str, Any]) -> list[str]:
    """Returns the members of a role in the order in which they were saved."""
    return next((binding["members"] for binding in policy["bindings"] if _to_role(binding) == role), [])


def _insert(members: Iterable[str], member: str, before: Sequence[str]) -> list[str]:
    """Inserts a member in the order that was saved. Newer members are at the end."""
    order = {name: place for place, name in enumerate(before)}
    return sorted({*members, member}, key=lambda name: (order.get(name, len(order)), name))


def _order(bindings: list[dict[str, Any]], saved: Mapping[str, Any]) -> list[dict[str, Any]]:
    places = [_to_role(binding) for binding in saved.get("bindings", ())]
    return sorted(
        bindings,
        key=lambda binding: places.index(_to_role(binding)) if _to_role(binding) in places else len(places),
    )
