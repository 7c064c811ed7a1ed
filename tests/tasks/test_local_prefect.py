"""Which servers a command of the command line uses."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from switchyard.clients.local_servers import LocalServers, to_note_path
from switchyard.clients.settings import Settings, read_settings
from tasks.local_prefect import prepare_prefect
from tasks.pages import to_page_url


class Healthy(BaseHTTPRequestHandler):
    """Answers 200 to all."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the overridden one's)
        """Nothing is logged."""


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServers]:
    """What a `make up` on other ports has noted, and a server that answers there."""
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        servers = LocalServers(pid=os.getpid(), prefect_api_url=f"{url}/api", serving_url="http://127.0.0.1:8123")
        to_note_path(read_settings()).write_bytes(msgspec.json.encode(servers))
        yield servers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("set_", "page"),
    [(None, "http://127.0.0.1:8123"), ("", "http://127.0.0.1:8123"), ("https://runs.example", "https://runs.example")],
)
def test_pages_are_where_make_up_serves_them(
    up: LocalServers, monkeypatch: pytest.MonkeyPatch, set_: str | None, page: str
) -> None:
    """On other ports too; an address that a person has set stays."""
    if set_ is not None:
        monkeypatch.setenv("SERVING_URL", set_)
    prepare_prefect(quiet=True)
    assert to_page_url(1) == f"{page}/quick-tests/1"
