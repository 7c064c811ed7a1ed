"""The job-ended event, sent to Prefect's server so that it has arrived when the call returns.

Prefect's own `emit_event` hands the event to a thread, and a process that ends hard at once loses it. A post that was
answered cannot be lost that way.
"""

import logging

import httpx
from prefect.client.orchestration import get_client
from prefect.events.schemas.events import Event, Resource
from prefect.settings import get_current_settings

from switchyard.core.errors import BadSetup
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Job

_EVENT_NAMES = {
    JobState.SUCCEEDED: "training-job.succeeded",
    JobState.FAILED: "training-job.failed",
    JobState.CANCELLED: "training-job.cancelled",
}

_log = logging.getLogger(__name__)


def check_prefect_api() -> None:
    """Raises: BadSetup: no Prefect server is named. Prefect would then start one of its own, which nobody watches."""
    if not get_current_settings().api.url:
        raise BadSetup(
            "PREFECT_API_URL must name the Prefect server that takes the job-ended events "
            "(https://<host>/api); it is not set"
        )


def emit_job_ended(job: Job) -> bool:
    """Sends the event of `job`'s end; False, and a line in the log, where no server took it. A second call sends a
    second event: the caller claims the right to the one (`Jobs.claim_ended_event`)."""
    event = Event(
        event=_EVENT_NAMES[job.state],
        resource=Resource.model_validate(
            {
                "prefect.resource.id": f"training-job.{job.quick_test_id}",
                "prefect.resource.name": f"training job of quick test {job.quick_test_id}",
            }
        ),
        payload={
            "quick_test_id": job.quick_test_id,
            "state": job.state.value,
            "attempt": job.attempt,
            "key": job.key,
        },
    )
    try:
        with get_client(sync_client=True) as client:
            # `/events` is a route of the server, but not in the list of those that the client's type names.
            path: str = "/events"
            client.request("POST", path, json=[event.model_dump(mode="json")]).raise_for_status()  # type: ignore[arg-type]
    except httpx.HTTPError as err:
        _log.warning("the event %s of quick test %d reached no Prefect server: %s", event.event, job.quick_test_id, err)
        return False
    return True
