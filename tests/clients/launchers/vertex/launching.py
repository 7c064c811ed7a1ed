"""Orders for the Vertex AI launcher's tests, and waiting for what becomes of them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from switchyard.clients.launchers.vertex.launcher import VertexLauncher
from switchyard.core.runs.jobs import JobOrder, JobReport
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_jobs import DEADLINE_S, PYTHON_IMAGE

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MakeLauncher = Callable[..., VertexLauncher]
StartVertex = Callable[..., VertexEmulator]


def make_order(code: str = "", **changed: Any) -> JobOrder:
    """An order that runs `code`."""
    defaults: dict[str, Any] = {"display_name": "a run", "arguments": [code], "labels": {}, "timeout_s": 600}
    return JobOrder(**(defaults | changed))


def wait_for_end(launcher: VertexLauncher, job: JobReport) -> JobReport:
    """The job's report once it has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while not job.state.ended:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
        job = launcher.report([job.job_name])[job.job_name]
    return job


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Returns once `reached` is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.01)


def to_environ(vertex: VertexEmulator, transport: str) -> dict[str, str]:
    """The settings that point at an endpoint."""
    return {
        "TRAINING_BACKEND": "vertex",
        "GCP_PROJECT_ID": "demo-project",
        "GCP_REGION": "us-central1",
        "TRAINER_IMAGE": PYTHON_IMAGE,
        "ARTIFACTS_URI": "gs://bucket/runs",
        "VERTEX_API_ENDPOINT": vertex.endpoint(transport),
        "VERTEX_TRANSPORT": transport,
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(vertex.certificate),
    }
