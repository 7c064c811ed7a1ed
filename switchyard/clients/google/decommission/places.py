"""Lists every region in which Cloud Run and Cloud Build can hold something of a project, in the plan or not.

Neither API lists across regions ("cannot be the '-' wildcard"), so each region is asked by itself.
Source: `parent` of projects.locations.services.list in the discovery document run.v2; projects.locations.list in run.v1
and cloudbuild.v2.
"""

from switchyard.clients.google.decommission.access import Access, Api
from switchyard.core.decommission.resources import Sought
from switchyard.core.errors import BadRecord


class Places:
    """Lists the regions of two APIs. Threads may share it."""

    def __init__(self, access: Access) -> None:
        self._run = Api(access, "run", "v1")
        self._build = Api(access, "cloudbuild", "v2")

    def list_run(self, sought: Sought) -> tuple[str, ...]:
        """Returns Cloud Run's regions, ascending.

        Raises: BadRecord: a region that the plan names is not among them: the list is not whole, or it is misspelt."""
        return self._list(self._run, sought, "Cloud Run", "run.locations.list")

    def list_build(self, sought: Sought) -> tuple[str, ...]:
        """Returns ``global``, then Cloud Build's regions, ascending. Raises: as `list_run`."""
        found = self._list(self._build, sought, "Cloud Build", "cloudbuild.locations.list")
        return ("global", *(place for place in found if place != "global"))

    def _list(self, api: Api, sought: Sought, of: str, permission: str) -> tuple[str, ...]:
        where = f"the regions of {of} in projects/{sought.project}"
        found = api.list_all(
            lambda client, token: (
                client.projects().locations().list(name=f"projects/{sought.project}", pageToken=token)
            ),
            "locations",
            where=where,
            permission=permission,
        )
        places = {location["locationId"] for location in found}
        if missing := sorted(set(sought.regions) - places):
            raise BadRecord(
                where,
                [
                    f"{region!r} is not among the {len(places)} listed: correct --regions, or the list is not whole "
                    "and proves nothing"
                    for region in missing
                ],
            )
        return tuple(sorted(places))
