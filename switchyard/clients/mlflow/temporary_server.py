"""Runs an MLflow server of `deployments/mlflow/` on this machine, over a restored database, while a drill lasts."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import requests

from switchyard.core.errors import BadSetup

START_S: Final = 180.0
"""The time for a start: MLflow 3 took 28 to 44 s on a busy machine."""
STOP_S: Final = 20.0
_LINES: Final = 8


def read_version(python: Path) -> str:
    """Returns the MLflow version of that environment. Raises: BadSetup: it has none."""
    ask = "from importlib.metadata import version; print(version('mlflow'))"
    try:
        found = subprocess.run(
            [str(python), "-c", ask], env=_to_environment({}), capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise BadSetup(
            f"{python} has no MLflow. Name an environment that has it: --mlflow-environment <folder>"
        ) from err
    return found.stdout.strip()


@contextlib.contextmanager
def run_server(python: Path, entrypoint: Path, store_uri: str) -> Iterator[str]:
    """Yields the address of a server over the database, once it answers.

    The server ends with the block, or with this process's group. Its artifacts are an empty folder that goes with it.
    The database is not changed: the entrypoint refuses another schema. A second call starts another server.

    Raises: BadSetup: the server ended, or does not answer within START_S; with its last lines."""
    with tempfile.TemporaryDirectory(prefix="switchyard-drill-") as named:
        port = _find_port()
        folder = Path(named)
        environ = _to_environment(
            {
                "HOME": named,
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "MLFLOW_BACKEND_STORE_URI": store_uri,
                "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
                "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1",
            }
        )
        log = folder / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(python), str(entrypoint), "serve"],
                cwd=folder,
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, log)
            yield url
        finally:
            _stop(process)


def _to_environment(variables: dict[str, str]) -> dict[str, str]:
    """Returns what the server needs, and nothing else of ours: no tokens, no other MLflow."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ} | variables


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not _is_answering(url):
        if process.poll() is not None or time.monotonic() > deadline:
            state = "ended" if process.poll() is not None else f"does not answer after {START_S:.0f} s"
            said = "\n".join(log.read_text(errors="replace").splitlines()[-_LINES:])
            raise BadSetup(f"the MLflow server of the drill {state}. It said:\n{said}")
        time.sleep(0.2)


def _is_answering(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).status_code == requests.codes.ok
    except requests.RequestException:
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stops the server. The entrypoint hands the signal on to MLflow's processes, and kills them at the second one."""
    for number in (signal.SIGTERM, signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            return
    process.kill()
    process.wait()
