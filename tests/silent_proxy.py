"""A proxy before a Postgres that can fall silent.

It goes on taking connections and acknowledging every packet, and nothing comes back any more. No timeout of the
kernel's or the server's ends that.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import make_url

_PORT = 5432


class SilentProxy:
    """Listens on 127.0.0.1 and passes on to the Unix socket at `target`, until `silent` is set."""

    def __init__(self, target: Path) -> None:
        self.silent = threading.Event()
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Ends all connections."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._sockets += [client, server]
                for source, sink, answers in ((client, server, False), (server, client, True)):
                    thread = threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):  # either side is gone
            while data := source.recv(65_536):
                if not (answers and self.silent.is_set()):
                    sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def silent_proxy(url: str) -> Iterator[tuple[SilentProxy, str]]:
    """A proxy before the database of `url`, as `tests.postgres` names it, and the URL through it."""
    parsed = make_url(url)
    folder = parsed.query["host"]
    proxy = SilentProxy(Path(str(folder)) / f".s.PGSQL.{parsed.port or _PORT}")
    through = parsed.difference_update_query(["host"]).set(host="127.0.0.1", port=proxy.port)
    try:
        yield proxy, through.render_as_string(hide_password=False)
    finally:
        proxy.close()
