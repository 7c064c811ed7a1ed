"""Takes away Cloud Run services, by google-cloud-run over REST. Only a decommission needs that package.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services and
https://cloud.google.com/run/docs/configuring/services/manual-scaling
"""

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from switchyard.clients.google.decommission.access import TIMEOUT_S, Access, Api, check_whole, wait
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
from switchyard.clients.google.decommission.places import Places
from switchyard.clients.google.decommission.policies import Policies
from switchyard.clients.google.decommission.runners import list_running
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
from switchyard.core.errors import BadSetup, NotFound, StaleWrite

_NEEDED: Final = (
    "run.services.get", "run.services.list", "run.services.update", "run.services.delete", "run.services.create",
    "run.services.getIamPolicy", "run.services.setIamPolicy", "run.revisions.list", "run.operations.get",
    "run.operations.list",
    "run.locations.list",
)  # fmt: skip
_CLOSED: Final = ("INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_NONE")
_STOPPING: Final = ("scaling", "ingress", "traffic")
"""The fields that a stop changes."""
_SETTABLE: Final = (
    "description", "labels", "annotations", "ingress", "launchStage", "binaryAuthorization", "template", "traffic",
    "scaling", "invokerIamDisabled", "defaultUriDisabled", "customAudiences", "iapEnabled", "buildConfig",
    "multiRegionSettings",
)  # fmt: skip


class CloudRun:
    """Implements `Cloud` over Cloud Run v2. Threads may share it.

    Args:
        pause: waits between two looks at an operation.
        patience_s: how long `delete` and `recover` wait for what is under way, and `recover` for the new service before
            it writes its policy.

    Raises: BadSetup: google-cloud-run is not installed.
    """

    kind = Kind.RUN_SERVICE

    def __init__(
        self, access: Access, project: str, *, pause: Callable[[float], None] = time.sleep, patience_s: float = 600.0
    ) -> None:
        self._run = _import_run()
        options = {"api_endpoint": access.endpoint} if access.endpoint else None
        made = {"credentials": access.credentials, "transport": "rest", "client_options": options}
        self._services = self._run.ServicesClient(**made)
        self._revisions = self._run.RevisionsClient(**made)
        self._api = Api(access, "run", "v2")
        self._places = Places(access)
        self._policies = Policies(access)
        self._permissions = Permissions(access, project)
        self._pause = pause
        self._patience_s = patience_s

    def find(self, sought: Sought) -> Found:
        """See the port. Each region has its own list, and all are asked."""
        listed = []
        regions = self._places.list_run(sought)
        for region in regions:
            parent = f"projects/{sought.project}/locations/{region}"
            with translated("list", f"the services of {parent}", "run.services.list"):
                pager = self._services.list_services(request={"parent": parent}, **_HOW)
                for page in pager.pages:
                    check_whole({"unreachable": list(getattr(page, "unreachable", ()))}, f"the services of {parent}")
                    listed += [_to_listed(self._to_json(service)) for service in page.services]
        return find(self.kind, sought, listed, regions, self.describe)

    def describe(self, name: str) -> Resource:
        """See the port. `parts` has its revisions, with their images."""
        with translated("read", name, "run.services.get"):
            item = self._to_json(self._services.get_service(request={"name": name}, **_HOW))
        policy = self._policies.read(name)
        return Resource(
            kind=self.kind,
            name=name,
            unique_id=item.get("uid", ""),
            version=item.get("etag", ""),
            activity=Activity.STOPPED if _is_stopped(item) else Activity.ACTIVE,
            description=item,
            policy=policy,
            parts={"revisions": self._list_revisions(name)},
            managed_by=find_manager(item.get("labels", {})),
        )

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """See the port. Changing a service needs the right to act as its account."""
        account = resource.description.get("template", {}).get("serviceAccount", "")
        missing = self._permissions.find_missing(
            _NEEDED, lambda asked: self._policies.test(resource.name, [name for name in asked if "create" not in name])
        )
        if not account:
            return missing
        owner = f"projects/{resource.name.split('/')[1]}/serviceAccounts/{account}"
        act_as = self._permissions.find_missing(
            ["iam.serviceAccounts.actAs"], lambda asked: self._policies.test(owner, asked)
        )
        return (*missing, *act_as)

    def prepare(self, resource: Resource) -> Operation:
        """See the port. Only a service's description can be kept: it is made again from that."""
        check_same(resource, self.describe(resource.name))
        return over(resource)

    def stop(self, resource: Resource) -> Operation:
        """See the port. Takes away instances, callers from outside, and tags: a tagged revision may still start one.

        Only these fields are sent: a template that is sent back with its revision's name is refused.
        Source: https://github.com/googleapis/google-cloud-python/issues/14259"""
        now = self.describe(resource.name)
        check_same(resource, now)
        if now.activity is Activity.STOPPED and not _has_failed(now):
            return over(now)
        if now.activity is not Activity.STOPPED:
            check_unchanged(resource, now)
        traffic = [
            {key: value for key, value in target.items() if key != "tag"}
            for target in now.description.get("traffic", ())
            if target.get("percent")
        ]
        stopped = {
            "scaling": {"scalingMode": "MANUAL", "manualInstanceCount": 0},
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
            "traffic": traffic,
        }
        return self._patch(now, "stop", stopped)

    def start(self, saved: Resource) -> Operation:
        """See the port."""
        now = self.describe(saved.name)
        if not _is_remade(saved, now):
            check_same(saved, now)
        wanted = {key: saved.description.get(key) for key in _STOPPING}
        held = {key: now.description.get(key) for key in wanted}
        if held == wanted and not _has_failed(now):
            return over(now)
        return self._patch(now, "start", wanted)

    def delete(self, resource: Resource) -> Operation:
        """See the port. There is no undo: `recover` deploys the service again.

        Waits for what is under way: it may be this deletion, if the answer to its begin was lost.

        Raises also: TryAgain: it is not over: call again."""
        self._let_end(resource.name)
        try:
            now = self.describe(resource.name)
        except NotFound:
            return over(resource)
        check_unchanged(resource, now)
        with looked_at_again(now.name), translated("delete", now.name, "run.services.delete"):
            begun = self._services.delete_service(request={"name": now.name, "etag": now.version}, **_HOW)
        return over(now, begun.operation.name)

    def recover(self, saved: Resource) -> Operation:
        """See the port. Makes a new service of the same name and address from its description, then its policy.

        The policy may name only accounts that exist: bring those back first. A deletion that is under way is waited
        for, because until its end the service is there.

        Raises also: TryAgain: the service is not there yet, or what is under way is not over: call again."""
        self._let_end(saved.name)
        try:
            now = self.describe(saved.name)
        except NotFound:
            begun = self._create(saved)
            wait(
                lambda: self.poll(begun),
                f"the operation {begun.name} on {saved.name}",
                pause=self._pause,
                patience_s=self._patience_s,
            )
            now = self.describe(saved.name)
        if now.unique_id != saved.unique_id and to_settable(now.description) != to_settable(saved.description):
            raise StaleWrite(f"{now.name} is there, and it is another one: its uid is {now.unique_id}")
        if now.unique_id != saved.unique_id and now.policy.get("bindings", []) != saved.policy.get("bindings", []):
            self._policies.write(now.name, {**saved.policy, "etag": now.policy.get("etag", "")})
        return over(now)

    def poll(self, operation: Operation) -> Progress:
        """See the port. Without a name, asks the service itself whether it is at rest."""
        if not operation.name:
            return self._poll_service(operation.resource)
        with translated("read the operation on", operation.resource, "run.operations.get"):
            answer = self._services.get_operation({"name": operation.name}, **_HOW)
        failed = answer.done and answer.WhichOneof("result") == "error"
        return Progress(done=answer.done, problem=(answer.error.message or "it has failed") if failed else "")

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """See the port: nothing but what was saved."""
        return ()

    def _let_end(self, name: str) -> None:
        """Waits by the list: an operation that is not found by its name may still be at work."""
        wait(
            lambda: Progress(done=not list_running(self._api, name)),
            f"what is under way on {name}",
            pause=self._pause,
            patience_s=self._patience_s,
        )

    def _poll_service(self, name: str) -> Progress:
        try:
            now = self.describe(name)
        except NotFound:
            return Progress(done=True)
        said = now.description.get("terminalCondition", {}).get("message") or "it has failed"
        return Progress(done=not now.description.get("reconciling"), problem=said if _has_failed(now) else "")

    def _patch(self, now: Resource, action: str, fields: Mapping[str, Any]) -> Operation:
        given = {key: value for key, value in fields.items() if value is not None}
        with translated(action, now.name, "run.services.update"):
            service = self._from_json({"name": now.name, "etag": now.version, **given})
            request = {"service": service, "update_mask": {"paths": sorted(fields)}}
            begun = self._services.update_service(request=request, **_HOW)
        return over(now, begun.operation.name)

    def _create(self, saved: Resource) -> Operation:
        parent, short = saved.name.split("/services/")
        with translated("deploy", saved.name, "run.services.create"):
            service = self._from_json(_to_new(saved.description))
            begun = self._services.create_service(
                request={"parent": parent, "service": service, "service_id": short}, **_HOW
            )
        return over(saved, begun.operation.name)

    def _list_revisions(self, name: str) -> list[dict[str, Any]]:
        with translated("list", f"the revisions of {name}", "run.revisions.list"):
            revisions = list(self._revisions.list_revisions(request={"parent": name}, **_HOW))
        return [
            {
                "name": revision.name,
                "createTime": revision.create_time.isoformat(),
                "images": [container.image for container in revision.containers],
            }
            for revision in revisions
        ]

    def _to_json(self, service: Any) -> dict[str, Any]:
        from google.protobuf.json_format import MessageToDict

        found: dict[str, Any] = MessageToDict(self._run.Service.pb(service))
        return found

    def _from_json(self, fields: Mapping[str, Any]) -> Any:
        from google.protobuf.json_format import ParseDict

        service = self._run.Service()
        ParseDict(dict(fields), self._run.Service.pb(service))
        return service


_HOW: Final[dict[str, Any]] = {"timeout": TIMEOUT_S, "retry": None}
"""One retry layer: a task's."""


def to_settable(description: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a person chose of a service, without the name of a revision, which is made for it."""
    found = {key: description[key] for key in _SETTABLE if description.get(key)}
    if "template" in found:
        found["template"] = {key: value for key, value in found["template"].items() if key != "revision"}
    return found


def _to_new(description: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the same service, to be made.

    Traffic may name revisions, which are gone with the old service. If all of it names the latest, the new revision
    gets that name. Else all traffic goes to the latest."""
    found = to_settable(description)
    named = {target["revision"] for target in found.get("traffic", ()) if target.get("revision")}
    latest = str(description.get("latestReadyRevision", "")).split("/")[-1]
    if named == {latest}:
        found["template"] = {**found["template"], "revision": latest}
    elif named:
        found["traffic"] = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
    return found


def _is_remade(saved: Resource, now: Resource) -> bool:
    """Returns whether it is what `recover` makes of `saved`, stopped or not."""
    before, after = (
        {key: value for key, value in to_settable(one.description).items() if key not in _STOPPING}
        for one in (saved, now)
    )
    return saved.unique_id != now.unique_id and before == after


def _is_stopped(item: Mapping[str, Any]) -> bool:
    scaling = item.get("scaling", {})
    return (
        scaling.get("scalingMode") == "MANUAL"
        and not scaling.get("manualInstanceCount")
        and item.get("ingress") in _CLOSED
        and not any(target.get("tag") for target in item.get("traffic", ()))
    )


def _has_failed(resource: Resource) -> bool:
    return bool(resource.description.get("terminalCondition", {}).get("state") == "CONDITION_FAILED")


def _to_listed(item: Mapping[str, Any]) -> Listed:
    addresses = [item.get("uri", ""), *item.get("urls", ())]
    hosts = [address.removeprefix("https://") for address in addresses if address]
    return Listed(
        name=item["name"], handles=(item["name"].split("/")[-1], *addresses, *hosts), labels=item.get("labels", {})
    )


def _import_run() -> Any:
    try:
        return importlib.import_module("google.cloud.run_v2")
    except ImportError as err:
        raise BadSetup(
            "Cloud Run services need the package google-cloud-run, which is not installed. Install it: "
            "pip install -c constraints.txt -e '.[decommission]' in the checkout"
        ) from err
