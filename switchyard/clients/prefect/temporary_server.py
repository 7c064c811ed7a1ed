"""Runs a Prefect server for the flow runs of one process, out of reach of its terminal's Ctrl-C.

Prefect starts such a server by itself, but in the same process group. Ctrl-C then ends the server before the flow has
said that it was interrupted, and cancelled its job. Run with -m, this file is that server.
"""

import atexit
import os
import select
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from switchyard.core.errors import BadSetup

_START_DEADLINE: Final = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"  # the first start migrates its database
_STOP_DEADLINE_S: Final = 5.0  # Prefect gives its own temporary server as much
_LOG: Final = "temporary-server.log"


def start_temporary_server(prefect_home: Path) -> str:
    """Starts a server on `prefect_home`, and returns its API's URL; empty if Prefect's own profile names a server.

    It ends with this process, even a killed one: it watches a pipe, and only this process has its other end. Each
    call starts another one.

    Raises:
        BadSetup: it does not start.
    """
    prefect_home.mkdir(parents=True, exist_ok=True)
    log = prefect_home / _LOG
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env=os.environ | {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
    # Registered before Prefect's own work at exit, and therefore run after it: that still needs the server.
    atexit.register(_stop, process)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], float(os.environ.get(_START_DEADLINE, "120")))
    url = process.stdout.readline().decode().strip() if ready else ""
    if not url and (not ready or process.wait() != 0):
        raise BadSetup(f"Prefect's temporary server does not start; {log} says why")
    return url


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Closes the pipe that it watches, and waits for its end. A second call does nothing."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """Serves until standard input ends; says the API's URL once it answers. Serves nothing if none is needed."""
    import uvicorn
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        return 0
    from prefect.server.api.server import create_app

    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                sys.stdout.write(f"{url}\n")
                sys.stdout.flush()

    server = Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on"))

    def watch() -> None:
        with suppress(OSError):
            sys.stdin.buffer.read()
        server.should_exit = True
        threading.Event().wait(2 * _STOP_DEADLINE_S)
        os._exit(1)  # a service of Prefect's holds it up, and no one is left to kill it

    threading.Thread(target=watch, daemon=True).start()
    server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
