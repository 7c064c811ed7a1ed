"""Limits the pace of submissions to Vertex AI: at most 50 in any minute, by all flow runs of one Prefect server.

Vertex AI takes 60 a minute in a project and region; the ten that are left are for what else the project submits. A
Prefect global concurrency limit counts. `make up` and `make deploy` make it; if a server is used and the limit is not
there, nothing is submitted. Without a server (a flow run started by hand, in a process that brings its own) there is no
count and no limit.

Source: https://cloud.google.com/vertex-ai/docs/quotas ("job or LRO submission requests per minute")
"""

from prefect.client.base import ServerType, determine_server_type
from prefect.client.orchestration import SyncPrefectClient
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import rate_limit

from switchyard.clients.connect import connect
from switchyard.core.errors import BadSetup, TryAgain
from switchyard.core.runs.claims import may_claim_again
from tasks.local_prefect import is_own_server
from tasks.policy import effect

LIMIT = "switchyard-vertex-submissions"
AT_ONCE = 10
PER_S = 40 / 60
"""Slots return at this rate: any minute holds 10 at once and 40 that returned in it, 50 in all."""


def is_limited() -> bool:
    """Returns True if a Prefect server counts submissions to Vertex AI. Not an effect: only settings are read."""
    counted = determine_server_type() in (ServerType.SERVER, ServerType.CLOUD)
    return counted and not is_own_server() and connect().settings.training_backend == "vertex"


@effect
def wait_for_turn(request_key: str, for_s: float, attempts: int = 1) -> None:
    """Returns when a job may be submitted; at once if `request_key` has its job already, and may have no other."""
    claim = connect().jobs.find_claim(request_key)
    is_open = claim is not None and not claim.job_name and not claim.state.ended
    if claim is None or is_open or may_claim_again(claim, attempts=attempts):
        take_turn(for_s)


def take_turn(for_s: float) -> None:
    """Takes one of the submissions of this minute, waiting `for_s` seconds at most.

    Raises:
        BadSetup: the server has no such limit.
        TryAgain: no turn came in time, or the server did not answer.
    """
    try:
        rate_limit(LIMIT, timeout_seconds=for_s, strict=True)
    except TimeoutError as err:
        raise TryAgain(
            f"no turn to submit came within {for_s:g} s from Prefect's global concurrency limit {LIMIT}. "
            "Others are submitting. Try again, or with a longer queue_timeout_s"
        ) from err
    except ConcurrencySlotAcquisitionError as err:
        if err.__cause__ is not None:
            raise TryAgain(f"Prefect's server did not count the submission. It answered: {err.__cause__}") from err
        raise BadSetup(
            f"the Prefect server has no global concurrency limit {LIMIT}, which keeps submissions to what Vertex AI "
            "takes. Make it: python -m deployments.limits, as make up and make deploy do"
        ) from err


def make_limit(client: SyncPrefectClient) -> None:
    """Makes the limit on the client's server, or brings it up to date; a second call changes nothing."""
    client.upsert_global_concurrency_limit_by_name(LIMIT, AT_ONCE, slot_decay_per_second=PER_S)
