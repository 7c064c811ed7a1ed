"""Fixtures of the Vertex AI launcher's tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from switchyard.clients.launchers.vertex.launcher import VertexLauncher, VertexSite
from tests.clients.launchers.vertex.launching import MakeLauncher
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_jobs import PYTHON_IMAGE


@pytest.fixture
def make_launcher(transport: str) -> Iterator[MakeLauncher]:
    """A launcher at an endpoint, by each transport; closed after the test."""
    launchers: list[VertexLauncher] = []

    def make(vertex: VertexEmulator, **changed: Any) -> VertexLauncher:
        site = VertexSite(
            project_id="demo-project",
            region="us-central1",
            trainer_image=PYTHON_IMAGE,
            api_endpoint=vertex.endpoint(transport),
            transport="rest" if transport == "rest" else "grpc",
        )
        quick: dict[str, Any] = {"relist_delays_s": (0.0, 0.05), "timeout_s": 20.0}
        launchers.append(VertexLauncher(site, **(quick | changed)))
        return launchers[-1]

    yield make
    for launcher in launchers:
        launcher.close()
