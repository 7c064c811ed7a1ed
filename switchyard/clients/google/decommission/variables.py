"""Finds variables of other services and jobs that point to the deployment, in all regions.

They point by their value, by the secret behind them, or by their own name. google-api-python-client is used because a
template goes back as it came, with fields that a generated client may not know.
Source: https://cloud.google.com/run/docs/configuring/services/environment-variables and /secrets
"""

import copy
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from switchyard.clients.google.decommission.access import Access, Api
from switchyard.clients.google.decommission.matching import (
    Listed,
    check_same,
    check_unchanged,
    find,
    find_manager,
    over,
    to_digest,
)
from switchyard.clients.google.decommission.permissions import Permissions
from switchyard.clients.google.decommission.places import Places
from switchyard.clients.google.decommission.policies import Policies
from switchyard.clients.google.decommission.runners import list_runners
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

_OURS: Final = (  # output only, in both
    "uid", "generation", "createTime", "updateTime", "creator", "lastModifier", "latestReadyRevision",
    "latestCreatedRevision", "observedGeneration", "terminalCondition", "conditions", "trafficStatuses", "uri", "urls",
    "reconciling", "satisfiesPzs", "executionCount", "latestCreatedExecution", "deleteTime", "expireTime",
    "threatDetectionEnabled",
)  # fmt: skip


class Variables:
    """Implements `Cloud` over the environment of Cloud Run's services and jobs. Threads may share it.

    A variable is named ``<owner>#<name>``. Its version is a digest of it, because its owner changes with each
    deployment. A variable that was taken out is not there."""

    kind = Kind.VARIABLE

    def __init__(self, access: Access, project: str) -> None:
        self._api = Api(access, "run", "v2")
        self._places = Places(access)
        self._policies = Policies(access)
        self._permissions = Permissions(access, project)

    def find(self, sought: Sought) -> Found:
        """See the port. `names` of this kind may have ``*``: ``MLFLOW_*``.

        The wanted services themselves are left out. The control is a service or a job."""
        listed: list[Listed] = []
        owned = set(sought.names.get(Kind.RUN_SERVICE, ()))
        regions = self._places.list_run(sought)
        for region in regions:
            for owner in list_runners(self._api, f"projects/{sought.project}/locations/{region}"):
                short = owner["name"].split("/")[-1]
                listed.append(Listed(name=owner["name"], handles=(short,)))
                if short not in owned and owner["name"] not in owned and not _is_part(owner, sought):
                    listed += _find_variables(owner, sought)
        quiet = Sought(project=sought.project, regions=sought.regions, controls=sought.controls)
        found = find(self.kind, quiet, listed, regions, self.describe)
        return msgspec.structs.replace(found, unseen=("worker pools, and executions of jobs",))

    def describe(self, name: str) -> Resource:
        """See the port. Raises NotFound also if the variable was taken out."""
        owner_name, variable = name.split("#", 1)
        owner = self._get(owner_name)
        entries = list(_list_entries(owner, variable))
        if not entries:
            raise NotFound(f"{owner_name} has no variable {variable}")
        return self._to_resource(owner, variable, entries)

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """See the port. Deploying needs the right to act as the owner's account."""
        owner = resource.name.split("#", 1)[0]
        sort = "jobs" if "/jobs/" in owner else "services"
        needed = [
            f"run.{sort}.get",
            f"run.{sort}.update",
            "run.services.list",
            "run.jobs.list",
            "run.locations.list",
            "run.operations.get",
        ]

        def test(asked: list[str]) -> list[str]:
            answer = self._api.call(
                lambda client: _collection(client, owner).testIamPermissions(
                    resource=owner, body={"permissions": asked}
                ),
                action="test permissions on",
                where=owner,
                permission="",
            )
            return list(answer.get("permissions", ()))

        missing = self._permissions.find_missing(needed, test)
        account = str(_find_pod(resource.description).get("serviceAccount", ""))
        if not account:
            return missing
        full = f"projects/{owner.split('/')[1]}/serviceAccounts/{account}"
        return (
            *missing,
            *self._permissions.find_missing(
                ["iam.serviceAccounts.actAs"], lambda asked: self._policies.test(full, asked)
            ),
        )

    def prepare(self, resource: Resource) -> Operation:
        """See the port. The variable was saved with its value and its place; there is nothing else to prepare."""
        check_same(resource, self.describe(resource.name))
        return over(resource)

    def stop(self, resource: Resource) -> Operation:
        """See the port. Takes the variable out, which deploys a new revision with all other variables as they are.

        Raises: StaleWrite: its value is another one."""
        owner_name, variable = resource.name.split("#", 1)
        owner = self._get(owner_name)
        entries = list(_list_entries(owner, variable))
        if not entries:
            return over(resource)
        now = self._to_resource(owner, variable, entries)
        check_unchanged(resource, now)
        changed = copy.deepcopy(owner)
        for container in _find_pod(changed).get("containers", ()):
            env = [entry for entry in container.get("env", ()) if entry["name"] != variable]
            container.pop("env", None)
            if env:
                container["env"] = env
        return self._deploy(resource, changed, f"take {variable} out of")

    def start(self, saved: Resource) -> Operation:
        """See the port. Puts the variable back in its place, into the owner as it is now.

        Raises: StaleWrite: it is there with another value, or another owner of that name is."""
        owner_name, variable = saved.name.split("#", 1)
        owner = self._get(owner_name)
        entries = list(_list_entries(owner, variable))
        wanted = list(saved.parts["entries"])
        if owner.get("uid", "") != saved.unique_id:
            raise StaleWrite(f"{owner_name} is another one: its uid was {saved.unique_id}, and is {owner.get('uid')}")
        if _to_values(entries) == _to_values(wanted):
            return over(saved)
        if entries:
            raise StaleWrite(f"{owner_name} has {variable} with another value now. Decide which is right")
        changed = copy.deepcopy(owner)
        containers = _find_pod(changed).get("containers", [])
        for entry in wanted:
            if entry["container"] >= len(containers):
                raise StaleWrite(f"{owner_name} no longer has a container {entry['container']}")
            env = containers[entry["container"]].setdefault("env", [])
            env.insert(entry["place"], copy.deepcopy(entry["entry"]))
        return self._deploy(saved, changed, f"put {variable} back into")

    def delete(self, resource: Resource) -> Operation:
        """See the port: as `stop`, which leaves nothing of it."""
        try:
            return self.stop(resource)
        except NotFound:
            return over(resource)

    def recover(self, saved: Resource) -> Operation:
        """See the port: as `start`."""
        return self.start(saved)

    def poll(self, operation: Operation) -> Progress:
        """See the port. Without a name, asks the owner whether it is at rest."""
        if not operation.name:
            try:
                owner = self._get(operation.resource.split("#", 1)[0])
            except NotFound:
                return Progress(done=True)
            condition = owner.get("terminalCondition", {})
            failed = condition.get("state") == "CONDITION_FAILED"
            said = condition.get("message") or "it has failed"
            return Progress(done=not owner.get("reconciling"), problem=said if failed else "")
        answer = self._api.call(
            lambda client: client.projects().locations().operations().get(name=operation.name),
            action="read the operation on",
            where=operation.resource,
            permission="run.operations.get",
        )
        problem = str(answer["error"].get("message") or "it has failed") if "error" in answer else ""
        return Progress(done=bool(answer.get("done")), problem=problem)

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """See the port: nothing but what was saved."""
        return ()

    def _deploy(self, resource: Resource, changed: dict[str, Any], action: str) -> Operation:
        """Deploys with the etag of what was read, so that no deployment in between is lost.

        A template may name its revision; another one of that name is refused."""
        owner = changed["name"]
        body = {key: value for key, value in changed.items() if key not in _OURS}
        body["template"].pop("revision", None)
        if "/jobs/" in owner:  # a job's patch has no mask, and takes the whole job

            def make(client: Any) -> Any:
                return _collection(client, owner).patch(name=owner, body=body)

        else:
            only = {key: body[key] for key in ("name", "etag", "template") if key in body}

            def make(client: Any) -> Any:
                return _collection(client, owner).patch(name=owner, updateMask="template", body=only)

        sort = "jobs" if "/jobs/" in owner else "services"
        answer = self._api.call(make, action=action, where=owner, permission=f"run.{sort}.update")
        return over(resource, answer["name"])

    def _to_resource(self, owner: dict[str, Any], variable: str, entries: list[dict[str, Any]]) -> Resource:
        name = f"{owner['name']}#{variable}"
        return Resource(
            kind=self.kind,
            name=name,
            unique_id=owner.get("uid", ""),
            version=to_digest(_to_values(entries)),
            activity=Activity.ACTIVE,
            description=_hide_others(owner, variable),
            parts={"entries": entries},
            managed_by=find_manager(owner.get("labels", {})),
        )

    def _get(self, owner: str) -> dict[str, Any]:
        sort = "jobs" if "/jobs/" in owner else "services"
        return self._api.call(
            lambda client: _collection(client, owner).get(name=owner),
            action="read",
            where=owner,
            permission=f"run.{sort}.get",
        )


def _find_variables(owner: Mapping[str, Any], sought: Sought) -> list[Listed]:
    why: dict[str, list[str]] = {}
    for container in _find_pod(owner).get("containers", ()):
        for entry in container.get("env", ()):
            if _points_there(entry, sought):
                why.setdefault(entry["name"], [f"env {entry['name']} of {owner['name']}"])
    return [
        Listed(name=f"{owner['name']}#{variable}", handles=(variable,), found_by=tuple(found))
        for variable, found in why.items()
    ]


def _points_there(entry: Mapping[str, Any], sought: Sought) -> bool:
    secret = str(entry.get("valueSource", {}).get("secretKeyRef", {}).get("secret", "")).split("/")[-1]
    secrets = {name.split("/")[-1] for name in (*sought.names.get(Kind.SECRET, ()), *sought.references)}
    return (
        any(fnmatchcase(entry["name"], pattern) for pattern in sought.names.get(Kind.VARIABLE, ()))
        or (bool(secret) and secret in secrets)
        or any(reference in entry.get("value", "") for reference in sought.references)
    )


def _is_part(owner: Mapping[str, Any], sought: Sought) -> bool:
    """Returns whether an owner is the deployment itself: found by its labels, or by its address."""
    labels = owner.get("labels", {})
    hosts = {address.removeprefix("https://") for address in (owner.get("uri", ""), *owner.get("urls", ())) if address}
    by_label = bool(sought.labels) and sought.labels.items() <= labels.items()
    return by_label or bool(hosts & {reference.removeprefix("https://") for reference in sought.references})


def _hide_others(owner: Mapping[str, Any], variable: str) -> dict[str, Any]:
    """Returns the owner without the values of its other variables: they are not ours, and may be secrets.

    An inventory is kept for years."""
    shown = copy.deepcopy(dict(owner))
    for container in _find_pod(shown).get("containers", ()):
        for entry in container.get("env", ()):
            if entry["name"] != variable:
                entry.pop("value", None)
    return shown


def _find_pod(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Returns where the containers are: a job has its template in the template of its executions."""
    template: dict[str, Any] = owner.get("template", {})
    inner: dict[str, Any] = template.get("template", template)
    return inner


def _list_entries(owner: Mapping[str, Any], variable: str) -> Iterator[dict[str, Any]]:
    for number, container in enumerate(_find_pod(owner).get("containers", ())):
        for place, entry in enumerate(container.get("env", ())):
            if entry["name"] == variable:
                yield {"container": number, "place": place, "entry": entry}


def _to_values(entries: list[dict[str, Any]]) -> list[Any]:
    """Returns the values without their places, which other variables move."""
    return [[entry["container"], entry["entry"]] for entry in entries]


def _collection(client: Any, owner: str) -> Any:
    locations = client.projects().locations()
    return locations.jobs() if "/jobs/" in owner else locations.services()
