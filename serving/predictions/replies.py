"""Reads requests and sends answers without a framework, which at 10,000 products costs as much as the model."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from switchyard.core.errors import BadRequest, NotFound, StaleWrite, SwitchyardError, TryAgain
from switchyard.core.predictions.requests import MAX_BODY_BYTES

RETRY_AFTER_S: Final = 2
PROBLEM_JSON: Final = "application/problem+json"
"""Source: RFC 9457, section 3."""


class Disconnected(Exception):
    """The caller has gone; no answer can be sent."""


@dataclass(frozen=True)
class Reply:
    """One answer, ready to be sent."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    after: Callable[[], None] | None = field(default=None, compare=False)
    """Called after the answer was sent, so that it costs the caller no time."""


Handler = Callable[[Scope, Receive], Awaitable[Reply]]


class Refused(Exception):
    """The request is refused, with a status that says why."""

    def __init__(self, status: HTTPStatus, detail: str, *, retry_after_s: int | None = None) -> None:
        self.status, self.detail, self.retry_after_s = status, detail, retry_after_s
        super().__init__(detail)


async def read_body(scope: Scope, receive: Receive, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Returns the whole body, counted while it arrives, because Content-Length may be wrong or missing.

    Raises: Refused: it is longer than `max_bytes`; the rest is not read.
    """
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            said = f"the body must have at most {max_bytes:,} bytes; send fewer instances, or fewer products in `only`"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def send_reply(reply: Reply, send: Send, *, has_body: bool = True) -> None:
    """Sends an answer; `has_body` is False for a HEAD request."""
    headers = [
        (b"content-type", reply.media_type.encode()),
        (b"content-length", str(len(reply.body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body if has_body else b""})


def to_json(value: Any, status: int = 200) -> Reply:
    """Returns an answer with a value as JSON; NaN would be null, but no model that answers NaN is served."""
    return Reply(msgspec.json.encode(value), status)


def to_problem(status: HTTPStatus, detail: str, *, retry_after_s: int | None = None) -> Reply:
    """Returns an answer that says why the request failed."""
    body = msgspec.json.encode({"title": status.phrase, "status": int(status), "detail": detail})
    headers = () if retry_after_s is None else ((b"retry-after", str(retry_after_s).encode()),)
    return Reply(body, int(status), PROBLEM_JSON, headers)


def to_refusal(err: Exception) -> Reply | None:
    """Returns the answer to a request that raised `err`; None: it is a bug."""
    if isinstance(err, Refused):
        return to_problem(err.status, err.detail, retry_after_s=err.retry_after_s)
    if not isinstance(err, SwitchyardError):
        return None
    if isinstance(err, TryAgain):
        return to_problem(HTTPStatus.SERVICE_UNAVAILABLE, str(err), retry_after_s=RETRY_AFTER_S)
    for kind, status in (
        (NotFound, HTTPStatus.NOT_FOUND),
        (BadRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
        (StaleWrite, HTTPStatus.CONFLICT),
    ):
        if isinstance(err, kind):
            return to_problem(status, str(err))
    return to_problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(err))
