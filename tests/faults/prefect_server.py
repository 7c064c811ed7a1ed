"""A Prefect server for flows that are killed: one of the run's own, with as little else to do as may be."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from switchyard.clients.prefect.analytics import switch_off_analytics

# What the server does for schedules, late runs and its own log of events, no flow here needs, and it would take most of
# the processors. Read by the server's process.
_IDLE = ("EVENT_PERSISTER", "EVENT_LOGGER", "FOREMAN", "LATE_RUNS", "SCHEDULER", "TASK_RUN_RECORDER", "TRIGGERS")
# In memory Prefect has one connection. In a file many wait for each other's locks: with eight flows at once, now and
# then a minute, which is how long Prefect lets SQLite wait.
_IN_MEMORY = "sqlite+aiosqlite:///file::memory:?cache=shared&uri=true&check_same_thread=false"


@contextmanager
def serve_prefect() -> Iterator[str]:
    """The address of its API.

    More jobs are submitted here than the 50 a minute that `make up` allows: the limit itself has tests of its own.
    """
    switch_off_analytics()  # before Prefect is imported
    from prefect.client.orchestration import get_client
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

    from tasks.turns import LIMIT

    os.environ.update({f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _IDLE})
    server = SubprocessASGIServer()
    try:
        with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: _IN_MEMORY}):
            server.start(timeout=120)
        with temporary_settings({PREFECT_API_URL: server.api_url}), get_client(sync_client=True) as client:
            client.upsert_global_concurrency_limit_by_name(LIMIT, 1000, slot_decay_per_second=1000.0)
        yield server.api_url
    finally:
        server.stop()
