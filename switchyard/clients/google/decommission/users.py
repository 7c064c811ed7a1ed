"""Finds what Cloud Run's services, jobs and worker pools and Cloud Build's triggers need.

That is accounts, secrets, instances and buckets.

Source: the discovery documents run.v2 (RevisionTemplate, TaskTemplate, Volume, EnvVar, BuildConfig) and cloudbuild.v1
(BuildTrigger, Secrets, WebhookConfig, PubsubConfig).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from switchyard.clients.google.decommission.access import Access, Api
from switchyard.clients.google.decommission.build_triggers import list_triggers
from switchyard.clients.google.decommission.places import Places
from switchyard.clients.google.decommission.runners import list_pools, list_runners
from switchyard.core.decommission.resources import Kind, Sought
from switchyard.core.decommission.users import How, Need, Sort

_SECRET: Final = re.compile(r"projects/[^/\s\"']+/secrets/[\w-]+")
_BUCKET: Final = re.compile(r"(?:gs://|https://storage\.googleapis\.com/)[\w.-]*\w")
_ELSEWHERE: Final = frozenset({"serviceAccount", "serviceAccountEmail", "substitutions"})
"""The parts of a trigger that are needs by themselves."""
_BY_NAME: Final = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"


class Users:
    """Implements `CloudUsers` over Cloud Run v2 and Cloud Build v1. Threads may share it."""

    def __init__(self, access: Access) -> None:
        self._places = Places(access)
        self._run = Api(access, "run", "v2")
        self._build = Api(access, "cloudbuild", "v1")

    def list_needs(self, sought: Sought) -> tuple[Need, ...]:
        """See the port. A service's older revisions count where traffic goes to them."""
        found: list[Need] = []
        for region in self._places.list_run(sought):
            place = f"projects/{sought.project}/locations/{region}"
            for owner in list_runners(self._run, place):
                found += _list_pod(owner["name"], _to_sort(owner["name"]), _find_pod(owner))
                found += _list_build(owner)
                found += self._list_revisions(owner)
            for pool in list_pools(self._run, place):
                found += _list_pod(pool["name"], "worker pool", _find_pod(pool))
        for place in self._places.list_build(sought):
            parent = f"projects/{sought.project}/locations/{place}"
            for item in list_triggers(self._build, parent):
                found += _list_trigger(f"{parent}/triggers/{item.get('name') or item['id']}", item)
        return tuple(found)

    def _list_revisions(self, service: Mapping[str, Any]) -> list[Need]:
        older = _find_older(service)
        if not older:
            return []
        revisions = self._run.list_all(
            lambda client, token: (
                client.projects().locations().services().revisions().list(parent=service["name"], pageToken=token)
            ),
            "revisions",
            where=f"the revisions of {service['name']}",
            permission="run.revisions.list",
        )
        named = ((revision["name"].rpartition("/")[2], revision) for revision in revisions)
        return [
            need
            for short, revision in named
            if short in older
            for need in _list_pod(service["name"], "service", revision, revision=short)
        ]


def _find_older(service: Mapping[str, Any]) -> set[str]:
    """Returns the revisions that get traffic, without the newest, which the template describes.

    While the newest is not ready, the one before it still answers."""
    targets = [target for target in service.get("traffic", ()) if target.get("percent")]
    older = {str(target.get("revision", "")) for target in targets if target.get("type") == _BY_NAME}
    if len(older) < len(targets):
        older.add(str(service.get("latestReadyRevision", "")))
    newest = str(service.get("latestCreatedRevision", "")).rpartition("/")[2]
    return {name.rpartition("/")[2] for name in older} - {newest, ""}


def _to_sort(name: str) -> Sort:
    return "job" if "/jobs/" in name else "service"


def _find_pod(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    template: Mapping[str, Any] = owner.get("template", {})
    inner: Mapping[str, Any] = template.get("template", template)
    return inner


def _list_pod(by: str, sort: Sort, pod: Mapping[str, Any], revision: str = "") -> Iterator[Need]:
    def need(how: How, name: str, kind: Kind | None, variable: str = "") -> Need:
        return Need(by=by, sort=sort, how=how, name=name, kind=kind, variable=variable, revision=revision)

    yield need("runs as", str(pod.get("serviceAccount", "")), Kind.SERVICE_ACCOUNT)
    for volume in pod.get("volumes", ()):
        if secret := volume.get("secret", {}).get("secret"):
            yield need("mounts", secret, Kind.SECRET)
        if bucket := volume.get("gcs", {}).get("bucket"):
            yield need("mounts", bucket, Kind.BUCKET)
        for connection in volume.get("cloudSqlInstance", {}).get("instances", ()):
            yield need("connects to", connection, Kind.SQL_INSTANCE)
    for container in pod.get("containers", ()):
        for entry in container.get("env", ()):
            if secret := entry.get("valueSource", {}).get("secretKeyRef", {}).get("secret"):
                yield need("reads in", secret, Kind.SECRET, entry["name"])
            elif entry.get("value"):
                yield need("names in", entry["value"], None, entry["name"])
        if words := [*container.get("command", ()), *container.get("args", ())]:
            yield need("names in", "\n".join(words), None)


def _list_build(service: Mapping[str, Any]) -> Iterator[Need]:
    """Yields what a function needs: the account that builds it."""
    account = service.get("buildConfig", {}).get("serviceAccount")
    if account:
        name = service["name"]
        yield Need(by=name, sort="service", how="runs as", name=account, kind=Kind.SERVICE_ACCOUNT)


def _list_trigger(by: str, item: Mapping[str, Any]) -> Iterator[Need]:
    """Yields secrets, buckets and whatever else a trigger names.

    They stand in its steps, sources, logs, artifacts and substitutions."""
    yield _to_need(by, "runs as", str(item.get("serviceAccount", "")), Kind.SERVICE_ACCOUNT)
    for account in (
        item.get("build", {}).get("serviceAccount"),
        item.get("pubsubConfig", {}).get("serviceAccountEmail"),
    ):
        if account:
            yield _to_need(by, "runs as", account, Kind.SERVICE_ACCOUNT)
    for key, value in {**item.get("build", {}).get("substitutions", {}), **item.get("substitutions", {})}.items():
        yield Need(by=by, sort="trigger", how="names in", name=str(value), variable=key)
    text = "\n".join(_list_texts(item))
    yield Need(by=by, sort="trigger", how="names in", name=_BUCKET.sub("", _SECRET.sub("", text)))
    for secret in sorted(set(_SECRET.findall(text))):
        yield _to_need(by, "reads in", secret, Kind.SECRET)
    for bucket in sorted(set(_BUCKET.findall(text))):
        yield _to_need(by, "connects to", bucket, Kind.BUCKET)
    if bucket := item.get("build", {}).get("source", {}).get("storageSource", {}).get("bucket"):
        yield _to_need(by, "connects to", bucket, Kind.BUCKET)


def _list_texts(part: Any) -> Iterator[str]:
    """Yields each text in it, whole: JSON's escape of a line's end would stick to a name."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        for key, value in part.items():
            if key not in _ELSEWHERE:
                yield from _list_texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _list_texts(value)


def _to_need(by: str, how: How, name: str, kind: Kind) -> Need:
    return Need(by=by, sort="trigger", how=how, name=name, kind=kind)
