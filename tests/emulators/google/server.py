"""The endpoint over HTTP: one address for all APIs."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.emulators.google.documents import match
from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, World

_CUT = object()


@contextlib.contextmanager
def serve(world: World, port: int = 0) -> Iterator[str]:
    """Serves `world` on 127.0.0.1 until the block ends; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _make_handler(world))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=30)


def ask(world: World, verb: str, url: str, raw: bytes) -> tuple[int, Any]:
    """The status and the JSON of an answer; None: it has no body; `_CUT`: the connection breaks."""
    try:
        reply = _answer(world, verb, url, raw)
    except Refused as err:
        if err.message.startswith("the endpoint's own reply"):
            world.breaches.append(err.message)
        return err.code, err.to_body()
    return (204, None) if reply is None else (200, reply)


def _answer(world: World, verb: str, url: str, raw: bytes) -> Any:
    parts = urlsplit(url)
    found = match(verb, parts.path)
    if not found:
        raise Refused(404, f"no API has {verb} {parts.path}")
    method, params = next((item for item in found if world.has(item[0].id)), found[0])
    query = parse_qs(parts.query, keep_blank_values=True)
    method.check_query(query)
    body = method.take_body(_read_json(raw))
    path = re.sub(r"^/(storage/|bigquery/)?v\d+/", "", unquote(parts.path)).split(":", 1)[0]
    fault = world.faults.take(method.id, path)
    if not fault.after:
        if fault.broken:
            return _CUT
        if fault.status:
            raise _to_refusal(fault.status, fault.message)
    reply = world.answer(Call(method, path, params, query, body, fault))
    method.check_reply(reply)
    if fault.broken:
        return _CUT
    if fault.status:
        raise _to_refusal(fault.status, fault.message)
    return reply


def _to_refusal(status: int, message: str) -> Refused:
    """An ordered fault. Words as Google's own where one has seen them, else the status's."""
    words = {
        403: "The caller does not have permission",
        409: "Conflict",
        429: "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute'",
        500: "Internal error encountered.",
        503: "The service is currently unavailable.",
    }
    return Refused(status, message or words.get(status, "Error"))


def _read_json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError as err:
        raise Refused(400, f"Invalid JSON payload received. {err}") from err


def _make_handler(world: World) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        wbufsize = -1
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, reply = ask(world, self.command, self.path, raw)
            if reply is _CUT:
                self.close_connection = True
                return
            data = b"" if reply is None else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = answer  # noqa: N815 - names of http.server's

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
            """Nothing is printed."""

    return Handler
