"""A Prefect server for flows that are killed: one of the run's own, with as little else to do as may be."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from tasks.submissions import LIMIT

# What the server does for schedules, late runs and its own log of events, no flow here needs, and it would take most of
# the processors. Read by the server's process.
_IDLE = ("EVENT_PERSISTER", "EVENT_LOGGER", "FOREMAN", "LATE_RUNS", "SCHEDULER", "TASK_RUN_RECORDER", "TRIGGERS")
# Enough connections for all requests at once: where they run out, the one that holds SQLite's lock may wait for another
# until those who wait for the lock give up, which is after a minute.
_POOL = {
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "100",
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "100",
}


@contextmanager
def serve_prefect() -> Iterator[str]:
    """The address of its API. More jobs are submitted here than the 50 a minute that `make up` allows: the limit itself
    has tests of its own."""
    os.environ.update({f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _IDLE} | _POOL)
    with prefect_test_harness(server_startup_timeout=120):
        with get_client(sync_client=True) as client:
            client.upsert_global_concurrency_limit_by_name(LIMIT, 1000, slot_decay_per_second=1000.0)
        yield str(PREFECT_API_URL.value())
