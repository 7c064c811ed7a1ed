"""A Vertex AI JobService on this machine, by REST and by gRPC with TLS, one core behind both.

As a fixture: ``with VertexEmulator(VertexConfig(...)) as vertex``. By hand:
``python -m tests.emulators.vertex --rest-port 8081 --grpc-port 8082 --image IMAGE='python -m trainer'``; it prints the
settings that point Switchyard at it.
"""

import argparse
import os
import shlex
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.emulators.server import serve_in_thread
from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_core import VertexCore
from tests.emulators.vertex_grpc import start_grpc_server
from tests.emulators.vertex_rest import build_rest_app
from tests.root import ROOT

# What a container gets of this machine, beside what Vertex AI sets: where its programs are, and where the endpoints
# that stand for Google's are.
_PASSED_ON = ("PATH", "STORAGE_EMULATOR_HOST", "GCE_METADATA_HOST", "GOOGLE_CLOUD_PROJECT", "LANG")


class VertexEmulator:
    """Both fronts, started by `with` and stopped with every process they run. Ports: 0 picks a free one."""

    def __init__(self, config: VertexConfig, *, rest_port: int = 0, grpc_port: int = 0) -> None:
        self.core = VertexCore(config)
        self.rest_endpoint = ""  # http://127.0.0.1:<port>
        self.grpc_endpoint = ""  # localhost:<port>
        self._ports = (rest_port, grpc_port)
        self._stack = ExitStack()

    def __enter__(self) -> "VertexEmulator":
        self._stack.callback(self.core.close)
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vertex-certificate-")))
        self.certificate = folder / "certificate.pem"
        grpc_server, grpc_port = start_grpc_server(self.core, self._ports[1], self.certificate)
        self._stack.callback(lambda: grpc_server.stop(grace=None).wait(10))
        self.grpc_endpoint = f"localhost:{grpc_port}"
        self.rest_endpoint = self._stack.enter_context(serve_in_thread(build_rest_app(self.core), port=self._ports[0]))
        self._stack.callback(self.core.faults.forget)  # a call that is still held would keep the server from ending
        return self

    def endpoint(self, transport: str) -> str:
        """What `api_endpoint` is for a client that calls by `transport`."""
        return self.rest_endpoint if transport == "rest" else self.grpc_endpoint

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


def passed_on_environment() -> dict[str, str]:
    """What containers get of this machine: a part of this process's environment, and where the programs are.

    An image would hold the programs.
    """
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"PYTHONPATH": str(ROOT)}


def main() -> None:
    """Serves until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rest-port", type=int, default=8081)
    parser.add_argument("--grpc-port", type=int, default=8082)
    parser.add_argument("--project", default="demo-project")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="URI=COMMAND",
        help="what an image runs (default for %(metavar)s: python -m trainer of this environment)",
    )
    parser.add_argument("--grace-s", type=float, default=30.0, help="seconds from SIGTERM to SIGKILL")
    options = parser.parse_args()
    images = {uri: shlex.split(command) for uri, _, command in (image.partition("=") for image in options.image)}
    images.setdefault("us-docker.pkg.dev/demo-project/switchyard/trainer:local", [sys.executable, "-m", "trainer"])
    config = VertexConfig(
        project=options.project, images=images, passed_on=passed_on_environment(), grace_s=options.grace_s
    )
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with VertexEmulator(config, rest_port=options.rest_port, grpc_port=options.grpc_port) as vertex:
        print(f"TRAINING_BACKEND=vertex GCP_PROJECT_ID={options.project} GCP_REGION=us-central1")
        print(f"TRAINER_IMAGE={next(iter(images))}")
        print(f"VERTEX_TRANSPORT=rest VERTEX_API_ENDPOINT={vertex.rest_endpoint}")
        print(f"VERTEX_TRANSPORT=grpc VERTEX_API_ENDPOINT={vertex.grpc_endpoint}", end=" ")
        print(f"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH={vertex.certificate}", flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
