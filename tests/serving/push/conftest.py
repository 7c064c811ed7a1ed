"""Fixtures of the push endpoint's tests."""

import contextlib
from collections.abc import Iterator

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from starlette.testclient import TestClient

from serving.app import create_app
from switchyard.clients.launchers.vertex.launcher import VertexLauncher, VertexSite
from tests.clients.results.places import Place
from tests.emulators.server import serve_in_thread
from tests.emulators.tokens import Issuer
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_jobs import PYTHON_IMAGE
from tests.serving.push_world import (
    ACCOUNT,
    AUDIENCE,
    Certificates,
    EventKeeper,
    World,
)


@pytest.fixture
def world(place: Place, idle_vertex: VertexEmulator) -> Iterator[World]:
    """Everything around the endpoint, and a client of it."""
    made = World(place)
    made.vertex, made.issuer, made.prefect = idle_vertex, Issuer(), EventKeeper()
    made.certificates = Certificates(made.issuer)
    with contextlib.ExitStack() as stack:
        certs_url = stack.enter_context(serve_in_thread(made.certificates.app))
        prefect_url = stack.enter_context(serve_in_thread(made.prefect.app))
        stack.enter_context(temporary_settings({PREFECT_API_URL: f"{prefect_url}/api", PREFECT_CLIENT_MAX_RETRIES: 0}))
        made.settings = msgspec.structs.replace(
            place.settings,
            training_backend="vertex",
            push_audience=AUDIENCE,
            push_service_account=ACCOUNT,
            push_certs_url=f"{certs_url}/certs",
        )
        site = VertexSite(
            project_id="demo-project",
            region="us-central1",
            trainer_image=PYTHON_IMAGE,
            api_endpoint=idle_vertex.rest_endpoint,
            transport="rest",
        )
        made.vertex_launcher = VertexLauncher(site, relist_delays_s=(0.0,))
        stack.callback(made.vertex_launcher.close)
        made.client = stack.enter_context(TestClient(create_app(made), raise_server_exceptions=False))
        yield made
