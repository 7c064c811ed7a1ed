"""Factories of what is asked of the Vertex AI endpoint, and waiting for what it does."""

import sys
import time
from collections.abc import Callable
from typing import Any

from google.cloud.aiplatform_v1 import CustomJob, JobServiceClient

from tests.emulators.vertex import VertexEmulator, passed_on_environment
from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_table import TERMINAL

PYTHON_IMAGE = "us-docker.pkg.dev/demo-project/tests/python:3"
"""An image whose entrypoint runs its one argument as Python."""
PARENT = "projects/demo-project/locations/us-central1"
DEADLINE_S = 60.0


def make_config(**changed: Any) -> VertexConfig:
    """A quick service that runs PYTHON_IMAGE."""
    defaults: dict[str, Any] = {
        "images": {PYTHON_IMAGE: [sys.executable, "-c"]},
        "passed_on": passed_on_environment(),
        "pending_s": 0.01,
        "grace_s": 5.0,
        "submissions_per_minute": 10_000,
        "requests_per_minute": 100_000,
    }
    return VertexConfig(**(defaults | changed))


def make_job(code: str = "", *, replicas: int = 1, **changed: Any) -> dict[str, Any]:
    """A CustomJob that runs `code`; `changed` are fields of its spec, but for display_name and labels."""
    pool: dict[str, Any] = {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "container_spec": {"image_uri": PYTHON_IMAGE, "args": [code]},
    }
    pools = [pool] if replicas == 1 else [pool, {**pool, "replica_count": replicas - 1}]
    top: dict[str, Any] = {name: changed.pop(name) for name in ("display_name", "labels") if name in changed}
    return {"display_name": "a test's job", **top, "job_spec": {"worker_pool_specs": pools, **changed}}


def create(client: JobServiceClient, job: dict[str, Any]) -> Any:
    """The job as it was created; no retry."""
    return client.create_custom_job(parent=PARENT, custom_job=CustomJob(job), retry=None, timeout=20)


def wait_for(vertex: VertexEmulator, name: str, reached: Callable[[Any], bool] | None = None) -> Any:
    """The job once `reached`, or ended where that is not given; asked of the core, so that no request is counted."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        job = vertex.core.read(name)
        if reached(job) if reached else job.state in TERMINAL:
            return job
        assert time.monotonic() < deadline, f"not reached within {DEADLINE_S} s: {job}"
        assert job.state not in TERMINAL, f"ended before it was reached: {job}"
        time.sleep(0.01)


def wait_for_log(vertex: VertexEmulator, name: str, text: str, times: int = 1) -> None:
    """Returns once the job's containers have written `text` `times` times."""
    deadline = time.monotonic() + DEADLINE_S
    while vertex.core.log_of(name).count(text) < times:
        assert time.monotonic() < deadline, f"no {text!r} within {DEADLINE_S} s: {vertex.core.log_of(name)}"
        time.sleep(0.01)
