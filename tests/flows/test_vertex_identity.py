"""The whole walk on Vertex AI where Cloud Storage lets no one in without a token.

Flow and container get theirs from the machine's metadata server, as on Google's machines.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from tests.emulators.gcs import start_gcs
from tests.emulators.metadata import start_metadata
from tests.emulators.vertex import VertexEmulator, passed_on_environment
from tests.flows.test_command_line import TOY
from tests.flows.test_vertex_purchases import run
from tests.flows.vertex_world import IMAGES, TRAINER, to_environ

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]


def test_flow_and_container_prove_who_they_are(start_vertex: Callable[..., VertexEmulator], tmp_path: Path) -> None:
    """The trainer's snapshots, model and checkpoints, and the flow's reading of them: every request has a token."""
    with start_metadata() as metadata, start_gcs(token_prefix="ya29.") as gcs:
        # STORAGE_EMULATOR_HOST makes Google's client anonymous; this leaves its search for credentials as it is.
        identity = {"API_ENDPOINT_OVERRIDE": gcs.url, **metadata.environ}
        passed_on = passed_on_environment() | identity
        passed_on.pop("STORAGE_EMULATOR_HOST", None)
        vertex = start_vertex(images=IMAGES, passed_on=passed_on)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            **identity,
            **to_environ(vertex, tmp_path / "state", "gs://switchyard-test/runs", transport="rest", image=TRAINER),
        }
        run(environ, "flows", "migrate")
        answer = json.loads(run(environ, "flows", "train", "--json", *TOY))
        assert answer["status"] == "completed"
        assert metadata.count("token") >= 2  # one a process, kept by it
        assert gcs.count("objects.insert", "runs/quick_tests/1/*") > 3
