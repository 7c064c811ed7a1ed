"""What the tests of Vertex AI's endpoint ask it for, and a program that runs until it is told to end."""

from collections.abc import Callable
from typing import Any

from google.cloud.aiplatform_v1 import CustomJob, JobServiceClient

from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_core import CREATE, REQUESTS, VertexCore
from tests.emulators.vertex_jobs import (
    PARENT,
)

MakeClient = Callable[..., JobServiceClient]
StartVertex = Callable[..., VertexEmulator]


def ask(core: VertexCore, job: dict[str, Any]) -> Any:
    return core.invoke(CREATE, REQUESTS[CREATE](parent=PARENT, custom_job=CustomJob.pb(CustomJob(job))))


UNTIL_TOLD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("up", flush=True)
while True:
    time.sleep(0.05)
"""
