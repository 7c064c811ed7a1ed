"""Parts of a backfill as flow runs of its deployment, wherever its work pool has workers."""

from collections.abc import Mapping
from typing import Any, Final

from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from history.errors import BadSetup, JobFailed
from tasks.policy import effect

DEPLOYMENT: Final = "backfill/manual"
_LOOK_S: Final = 5.0


@effect
def run_shard(parameters: Mapping[str, Any]) -> None:
    """Starts the part that `parameters` names and waits for its end. A second call within the same flow run waits for
    the first one's.

    Raises:
        BadSetup: the server has no such deployment.
        JobFailed: the part has failed; its runs' ledger lines say why.
    """
    number = parameters["shard"]
    try:
        found: Any = run_deployment(  # a coroutine only where the caller is one
            DEPLOYMENT,
            parameters=dict(parameters),
            poll_interval=_LOOK_S,
            idempotency_key=f"{flow_run.id}-shard-{number}",
            flow_run_name=f"shard {number} of {parameters['shards']}",
        )
    except ObjectNotFound as err:
        raise BadSetup(
            f"Prefect's server must have the deployment {DEPLOYMENT} to run shards; it has not. make up, or "
            "prefect deploy --all, makes it; without a server leave --shards out"
        ) from err
    state = found.state
    if state is None or not state.is_completed():
        raise JobFailed(f"shard {number} ended as {state.name if state else 'unknown'}: flow run {found.name}")
