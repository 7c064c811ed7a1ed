"""Reads and writes policies of IAM: whole, with conditions, and only over what was read.

A policy is always asked for in version 3: else the conditions in it are lost with the next write.
Source: https://cloud.google.com/iam/docs/policies, /iam/docs/troubleshooting-withcond
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from switchyard.clients.google.decommission.access import Access, Api

VERSION: Final = 3

_SORTS: Final = (
    ("project", re.compile(r"projects/[^/]+")),
    ("service", re.compile(r"projects/[^/]+/locations/[^/]+/services/[^/]+")),
    ("job", re.compile(r"projects/[^/]+/locations/[^/]+/jobs/[^/]+")),
    ("secret", re.compile(r"projects/[^/]+/secrets/[^/]+")),
    ("account", re.compile(r"projects/[^/]+/serviceAccounts/[^/]+")),
    ("bucket", re.compile(r"projects/_/buckets/[^/]+")),
)
_PERMISSIONS: Final = {
    "project": "resourcemanager.projects",
    "service": "run.services",
    "job": "run.jobs",
    "secret": "secretmanager.secrets",
    "account": "iam.serviceAccounts",
    "bucket": "storage.buckets",
}


class Policies:
    """The policies of a project, a Cloud Run service or job, a secret, an account or a bucket, by its full name."""

    def __init__(self, access: Access) -> None:
        self._apis = {
            "project": Api(access, "cloudresourcemanager", "v3"),
            "service": (run := Api(access, "run", "v2")),
            "job": run,
            "secret": Api(access, "secretmanager", "v1"),
            "account": Api(access, "iam", "v1"),
            "bucket": Api(access, "storage", "v1"),
        }

    def read(self, owner: str) -> dict[str, Any]:
        """Returns the whole policy. Raises: NotFound: there is no such owner; see `errors.translated`."""
        sort = to_sort(owner)

        def make(client: Any) -> Any:
            if sort == "project":
                body = {"options": {"requestedPolicyVersion": VERSION}}
                return client.projects().getIamPolicy(resource=owner, body=body)
            if sort == "bucket":
                bucket = owner.split("/")[-1]
                return client.buckets().getIamPolicy(bucket=bucket, optionsRequestedPolicyVersion=VERSION)
            return _collection(client, sort).getIamPolicy(resource=owner, options_requestedPolicyVersion=VERSION)

        return self._apis[sort].call(
            make, action="read the policy of", where=owner, permission=f"{_PERMISSIONS[sort]}.getIamPolicy"
        )

    def write(self, owner: str, policy: dict[str, Any]) -> dict[str, Any]:
        """Replaces the policy that was read with the same etag. A second call with it is refused.

        Raises: TryAgain, StaleWrite: someone wrote in between: read again."""
        sort = to_sort(owner)
        whole = {key: value for key, value in policy.items() if key != "kind"} | {"version": VERSION}

        def make(client: Any) -> Any:
            if sort == "bucket":
                return client.buckets().setIamPolicy(bucket=owner.split("/")[-1], body=whole)
            return _collection(client, sort).setIamPolicy(resource=owner, body={"policy": whole})

        return self._apis[sort].call(
            make, action="write the policy of", where=owner, permission=f"{_PERMISSIONS[sort]}.setIamPolicy"
        )

    def test(self, owner: str, permissions: Sequence[str]) -> list[str]:
        """Returns those that the caller has at `owner`."""
        sort = to_sort(owner)

        def make(client: Any) -> Any:
            if sort == "bucket":
                bucket = owner.split("/")[-1]
                return client.buckets().testIamPermissions(bucket=bucket, permissions=list(permissions))
            body = {"permissions": list(permissions)}
            return _collection(client, sort).testIamPermissions(resource=owner, body=body)

        answer = self._apis[sort].call(make, action="test permissions on", where=owner, permission="")
        return list(answer.get("permissions", ()))


def to_sort(owner: str) -> str:
    """Returns the kind of thing that a full name names."""
    return next(sort for sort, pattern in _SORTS if pattern.fullmatch(owner))


def to_permissions(owner: str) -> tuple[str, str]:
    """Returns the permissions to read and write the policy of `owner`."""
    stem = _PERMISSIONS[to_sort(owner)]
    return f"{stem}.getIamPolicy", f"{stem}.setIamPolicy"


def _collection(client: Any, sort: str) -> Any:
    projects = client.projects()
    if sort == "service":
        return projects.locations().services()
    if sort == "job":
        return projects.locations().jobs()
    if sort == "secret":
        return projects.secrets()
    return projects.serviceAccounts() if sort == "account" else projects
