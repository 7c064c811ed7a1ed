"""Runs an emulator's app on a free loopback port: in a thread for fixtures, in the foreground for `python -m`."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


@contextlib.contextmanager
def serve_in_thread(app: ASGIApp, *, port: int = 0) -> Iterator[str]:
    """Serves `app` on 127.0.0.1 (`port` 0: a free one) until the block ends; yields the address, which answers by then.

    The socket listens before the thread starts, so that a first request waits in its queue instead of being refused.
    """
    listening, url = listen(port)
    server = uvicorn.Server(_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="emulator", daemon=True)
    thread.start()
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listening.close()
        if thread.is_alive():
            raise RuntimeError("the emulator's server must end within 30 s of being asked; it still runs")


def serve_forever(app: ASGIApp, listening: socket.socket) -> None:
    """Serves `app` in the foreground until SIGINT or SIGTERM, and says on stdout where, once it listens."""
    print(f"listening on {_address(listening)}", flush=True)
    uvicorn.Server(_config(app)).run(sockets=[listening])


def listen(port: int) -> tuple[socket.socket, str]:
    """A listening socket on 127.0.0.1 (`port` 0: a free one) and its address."""
    # asyncio turns Nagle's algorithm off only for sockets that say they are TCP: 30 times as many calls a second.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(256)
    return listening, _address(listening)


def _address(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def _config(app: ASGIApp) -> uvicorn.Config:
    # An injected broken stream is an exception in the app by design; uvicorn would log a traceback for each.
    return uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=2
    )
