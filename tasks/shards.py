"""Runs parts of a backfill as flow runs of its deployment, wherever its work pool has workers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from switchyard.core.errors import BadSetup
from tasks.policy import effect

DEPLOYMENT: Final = "backfill/manual"
_PAGE: Final = 200
"""The most flow runs that Prefect's server tells of in one answer. Source: PREFECT_API_DEFAULT_LIMIT."""


@effect
def start_shard(parameters: Mapping[str, Any]) -> str:
    """Asks for the part that `parameters` names, and returns its flow run's id at once.

    A second call within the same flow run finds the flow run of the first.

    Raises:
        BadSetup: the server has no such deployment.
    """
    number = parameters["shard"]
    try:
        started: Any = run_deployment(  # a coroutine only if the caller is one
            DEPLOYMENT,
            parameters=dict(parameters),
            timeout=0,
            idempotency_key=f"{flow_run.id}-shard-{number}",
            flow_run_name=f"backfill shard {number} of {parameters['shards']}",
        )
    except ObjectNotFound as err:
        raise BadSetup(
            f"Prefect's server has no deployment {DEPLOYMENT}, which runs shards. Make it: make up, or "
            "prefect deploy --all. Without a server, leave --shards out"
        ) from err
    return str(started.id)


def read_shards(ids: Sequence[str]) -> dict[str, State[Any]] | None:
    """Reads the states of these flow runs, by id, without those that someone has deleted. None: not known just now.

    It is not a task: one call looks many times, and a task for each would cost Prefect's server more than what it asks
    for.
    """
    found: dict[str, State[Any]] = {}
    try:
        with get_client(sync_client=True) as client:
            for start in range(0, len(ids), _PAGE):
                some = FlowRunFilterId(any_=[UUID(id_) for id_ in ids[start : start + _PAGE]])
                runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=some), limit=_PAGE)
                found |= {str(run.id): run.state for run in runs if run.state is not None}
    except httpx.HTTPError:  # Prefect's own of an HTTP status is one of these, too
        return None
    return found


@effect
def cancel_shards(ids: Sequence[str]) -> None:
    """Cancels these flow runs, so that none begins when no one waits for it any more.

    A second call changes nothing.
    """
    with get_client(sync_client=True) as client:
        for id_ in ids:
            # Of a flow run that no worker has taken, Prefect's server makes it a cancelled one at once.
            client.set_flow_run_state(UUID(id_), Cancelling())
