"""Fixtures of the tests of the Cloud Storage endpoint by plain HTTP."""

from collections.abc import Iterator

import httpx
import pytest

from tests.emulators.gcs import Gcs, start_gcs


@pytest.fixture(scope="module")
def module_server() -> Iterator[Gcs]:
    with start_gcs() as running:
        yield running


@pytest.fixture
def server(module_server: Gcs) -> Iterator[Gcs]:
    yield module_server
    module_server.reset()
    module_server.store.clear()


@pytest.fixture
def http(server: Gcs) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        yield client
