"""One Prefect server for all tests: it takes longer to start than most of them. tests/conftest.py has the fixture."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A server of the session's own, with the limit that `make up` makes."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    from tasks.turns import make_limit

    # Each event is held against all automations. No test makes one here: test_deployments.py has a server of its own.
    no_triggers = temporary_settings({PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: False})
    with no_triggers, prefect_test_harness(server_startup_timeout=400):  # a busy machine takes minutes
        with get_client(sync_client=True) as client:
            make_limit(client)
        yield
