"""Sends the events of jobs, runs and models to Prefect's server. An event has arrived when the call returns.

Prefect's own `emit_event` hands the event to a thread, and a process that ends hard at once loses it. A post that was
answered cannot be lost that way.
"""

import logging
from uuid import NAMESPACE_URL, uuid5

import httpx
from prefect.client.orchestration import get_client
from prefect.events.schemas.events import Event, Resource
from prefect.settings import get_current_settings

from switchyard.core.errors import BadSetup
from switchyard.core.registry.rows import Outcome
from switchyard.core.registry.stages import Act
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Job, QuickTest

_EVENT_NAMES = {
    JobState.SUCCEEDED: "training-job.succeeded",
    JobState.FAILED: "training-job.failed",
    JobState.CANCELLED: "training-job.cancelled",
}
_MODEL_EVENT_NAMES = {
    Act.REGISTERED: "model.registered",
    Act.PROMOTED: "model.promoted",
    Act.ROLLED_BACK: "model.rolled-back",
}

_log = logging.getLogger(__name__)


def check_prefect_api() -> None:
    """Raises BadSetup if no Prefect server is named. Prefect would start its own, which no one watches."""
    if not get_current_settings().api.url:
        raise BadSetup(
            "PREFECT_API_URL is not set. It must name the Prefect server that takes the job-ended events "
            "(https://<host>/api)"
        )


def emit_job_ended(job: Job) -> bool:
    """Sends the event of `job`'s end; False, and a line in the log: no server took it.

    A second call sends a second event: the caller claims the right to the only one (`Jobs.claim_ended_event`)."""
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
    return _send(event, f"quick test {job.quick_test_id}")


def emit_run_completed(run: QuickTest, database_id: str, *, key: str, register_as: str) -> bool:
    """Sends the event of a run that is completed and published; False, and a line in the log: no server took it.

    A second call for the same job's `key` sends the same event, by its id.

    `register_as` is among the resource's labels only if the run names a model. So an automation that matches the label
    starts nothing for other runs.
    """
    labels = {
        "prefect.resource.id": f"training-run.{run.id}",
        "prefect.resource.name": f"quick test {run.id}",
        "switchyard.experiment": run.mlflow_experiment_name,
        "switchyard.register-as": register_as,
    }
    event = Event(
        id=uuid5(NAMESPACE_URL, f"switchyard/{database_id}/training-run/{run.id}/{key}"),
        event="training-run.completed",
        resource=Resource.model_validate({label: value for label, value in labels.items() if value}),
        payload={
            "quick_test_id": run.id,
            "name": run.display_name,
            "experiment": run.mlflow_experiment_name,
            "register_as": register_as,
            "key": key,
        },
    )
    return _send(event, f"quick test {run.id}")


def emit_model_event(outcome: Outcome, database_id: str, *, digest: str) -> bool:
    """Sends the event of what became of a model's version; False, and a line in the log: no server took it.

    A second call sends the same event, by its id: a server keeps it, and acts on it, once.

    The registry's history may not be written to, so no one could claim the right to the only event there."""
    name = _MODEL_EVENT_NAMES.get(outcome.act) if outcome.act else None
    if name is None:
        return False
    event = Event(
        id=uuid5(NAMESPACE_URL, f"switchyard/{database_id}/{outcome.name}/{outcome.seq}"),
        event=name,
        resource=Resource.model_validate(
            {"prefect.resource.id": f"model.{outcome.name}", "prefect.resource.name": f"model {outcome.name}"}
        ),
        payload={
            "name": outcome.name,
            "version": outcome.version,
            "replaced": outcome.replaced,
            "seq": outcome.seq,
            "digest": digest,
        },
    )
    return _send(event, f"version {outcome.version} of model {outcome.name}")


def _send(event: Event, whose: str) -> bool:
    try:
        with get_client(sync_client=True) as client:
            # `/events` is a route of the server, but not in the list of those that the client's type names.
            path: str = "/events"
            client.request("POST", path, json=[event.model_dump(mode="json")]).raise_for_status()  # type: ignore[arg-type]
    except httpx.HTTPError as err:
        _log.warning("the event %s of %s reached no Prefect server: %s", event.event, whose, err)
        return False
    return True
