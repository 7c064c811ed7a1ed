"""Cloud Run's services and jobs of one place, as variables and bindings look through them."""

from typing import Any

from switchyard.clients.google.decommission.access import Api


def list_runners(run: Api, place: str) -> list[dict[str, Any]]:
    """All services, then all jobs of `place` (``projects/<p>/locations/<l>``), as the API tells them.

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
