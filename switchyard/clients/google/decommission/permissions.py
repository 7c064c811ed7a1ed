"""Finds what the caller may not do, before the first act: at the project, then at the resource itself.

Source: https://cloud.google.com/iam/docs/testing-permissions. A permission that is given at the resource alone does
not show at the project, and one of the project (to create, to list) cannot be asked at a resource.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from switchyard.clients.google.decommission.access import Access, Api

Test = Callable[[list[str]], Iterable[str]]


class Permissions:
    """Knows what the caller may do in one project."""

    def __init__(self, access: Access, project: str) -> None:
        self._projects = Api(access, "cloudresourcemanager", "v3")
        self._project = project

    def find_missing(self, needed: Sequence[str], at_resource: Test | None = None) -> tuple[str, ...]:
        """Returns those of `needed` that the caller lacks at the project, and at the resource if that can be asked."""
        missing = [name for name in needed if name not in set(self._test_project(list(needed)))]
        asked = [name for name in missing if ".locations." not in name]  # such a one can only be asked of the project
        if asked and at_resource:
            held = set(at_resource(asked))
            missing = [name for name in missing if name not in held]
        return tuple(missing)

    def _test_project(self, needed: list[str]) -> list[str]:
        where = f"projects/{self._project}"

        def make(client: Any) -> Any:
            return client.projects().testIamPermissions(resource=where, body={"permissions": needed})

        answer = self._projects.call(make, action="test permissions on", where=where, permission="")
        return list(answer.get("permissions", ()))
