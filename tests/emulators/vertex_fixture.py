"""Fixtures that start the Vertex AI endpoint; a conftest imports them by name.

Google's client is imported at their first use: it takes a second, which the tests that need no cloud shall not wait
for.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulators.certificate import make_certificate

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import JobServiceClient

    from tests.emulators.vertex import VertexEmulator


@pytest.fixture(scope="session", autouse=True)
def trusted_certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    """gRPC trusts the endpoints' certificate.

    It reads its roots once in a process's life, at its first use of TLS, whatever that is for: so they are named before
    any test runs.
    """
    certificate = tmp_path_factory.mktemp("tls") / "certificate.pem"
    certificate.write_bytes(make_certificate()[1])
    os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = str(certificate)


@pytest.fixture
def start_vertex() -> Iterator["Callable[..., VertexEmulator]"]:
    """Starts an endpoint with the given fields of its config changed."""
    with ExitStack() as started:

        def start(**changed: Any) -> "VertexEmulator":
            return started.enter_context(_make(**changed))

        yield start


@pytest.fixture(scope="session")
def vertex_server() -> Iterator["VertexEmulator"]:
    """One endpoint that runs jobs, for all tests."""
    with _make() as vertex:
        yield vertex


@pytest.fixture(scope="session")
def idle_vertex_server() -> Iterator["VertexEmulator"]:
    """One endpoint that runs nothing, for all tests."""
    with _make(new_job_state=1) as vertex:
        yield vertex


@pytest.fixture
def vertex(vertex_server: "VertexEmulator") -> Iterator["VertexEmulator"]:
    """An endpoint that runs jobs; no job, fault or process outlives the test."""
    yield vertex_server
    vertex_server.core.clear()


@pytest.fixture
def idle_vertex(idle_vertex_server: "VertexEmulator") -> Iterator["VertexEmulator"]:
    """An endpoint whose jobs stay QUEUED until a test moves them; none outlives the test."""
    yield idle_vertex_server
    idle_vertex_server.core.clear()


@pytest.fixture(params=["rest", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    """Both ways to call it."""
    return str(request.param)


@pytest.fixture
def make_client() -> Iterator["Callable[..., JobServiceClient]"]:
    """The real client of an endpoint, by a transport; closed after the test."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1 import JobServiceClient

    clients: list[JobServiceClient] = []

    def make(vertex: "VertexEmulator", transport: str = "rest") -> JobServiceClient:
        client = JobServiceClient(
            credentials=AnonymousCredentials(),
            transport=transport,
            client_options={"api_endpoint": vertex.endpoint(transport)},
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.transport.close()


def _make(**changed: Any) -> "VertexEmulator":
    from tests.emulators.vertex import VertexEmulator
    from tests.emulators.vertex_jobs import make_config

    return VertexEmulator(make_config(**changed))
