"""Lists Cloud Run's services, jobs and worker pools of one place, and what is under way there.

Users, variables and bindings look through them.
"""

from typing import Any

from switchyard.clients.google.decommission.access import Api


def list_runners(run: Api, place: str) -> list[dict[str, Any]]:
    """Returns all services, then all jobs of `place` (``projects/<p>/locations/<l>``), as the API has them.

    Raises: as `Api.list_all`."""
    services = run.list_all(
        lambda client, token: client.projects().locations().services().list(parent=place, pageToken=token),
        "services",
        where=f"the services of {place}",
        permission="run.services.list",
    )
    jobs = run.list_all(
        lambda client, token: client.projects().locations().jobs().list(parent=place, pageToken=token),
        "jobs",
        where=f"the jobs of {place}",
        permission="run.jobs.list",
    )
    return [*services, *jobs]


def list_running(run: Api, name: str) -> list[str]:
    """Returns the names of the operations on that service or job that are not over.

    An operation is found again here if the answer to its begin was lost. Nothing says whether it deploys or deletes.

    Raises: as `Api.list_all`."""
    parent = "/".join(name.split("/")[:4])
    short = name.removeprefix(parent)
    operations = run.list_all(
        lambda client, token: (
            client.projects().locations().operations().list(name=parent, filter="done:false", pageToken=token)
        ),
        "operations",
        where=f"the operations in {parent}",
        permission="run.operations.list",
    )
    return [
        operation["name"]
        for operation in operations
        # Compared by its end: the API may name the project by its number.
        if not operation.get("done") and str(operation.get("metadata", {}).get("name", "")).endswith(short)
    ]


def list_pools(run: Api, place: str) -> list[dict[str, Any]]:
    """Returns all worker pools of `place`. Raises: as `Api.list_all`."""
    return run.list_all(
        lambda client, token: client.projects().locations().workerPools().list(parent=place, pageToken=token),
        "workerPools",
        where=f"the worker pools of {place}",
        permission="run.workerpools.list",
    )
