"""One artifact as it is sent: its bytes and nothing of a page, whatever they are.

What a run has logged may be HTML by the user who logged it, and must not run as if it were ours.
"""

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serving.conditional import NOSNIFF, REVALIDATE, has_already
from serving.problems import to_problem
from switchyard.clients.connect import Outside
from switchyard.core.artifacts.manifest import Copied
from switchyard.services.artifact_reading import KeptArtifacts, read_object, read_part

MEDIA_TYPE: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SAFE: Final = {
    **NOSNIFF,
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": REVALIDATE,
    "Accept-Ranges": "bytes",
}


def send_artifact(request: Request, outside: Outside, kept: KeptArtifacts, found: Copied) -> Response:
    """Sends the artifact, or the part that is asked for; 304 if the client has it. Its tag is its hash.

    Raises: BadRecord: the copy is damaged, where that is seen before anything is sent.
    """
    etag = f'"{found.sha256}"'
    headers = {**_SAFE, "ETag": etag, "Content-Disposition": to_disposition(found.path)}
    if has_already(request, etag):
        return Response(status_code=304, headers=headers)
    asked = None
    if request.headers.get("if-range", etag) == etag:
        asked = to_range(request.headers.get("range", ""), found.size_bytes)
    if asked is None:
        return _answer(request, 200, headers, found.size_bytes, lambda: read_object(outside, kept, found))
    start, end = asked
    if start >= end:
        said = f"`Range` begins after the end: {found.path} has {found.size_bytes:,} bytes"
        where = {"Content-Range": f"bytes */{found.size_bytes}"}
        return to_problem(request, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, said, where)
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size_bytes}"
    return _answer(request, 206, headers, end - start, lambda: read_part(outside, kept, found, start, end - start))


def to_range(asked: str, size_bytes: int) -> tuple[int, int] | None:
    """Returns where the part that a Range header asks for begins and ends; None: it is all, or no range that we know.

    Of a part that begins after the end, both are equal.

    Source: RFC 9110, section 14.1.2

    >>> to_range("bytes=0-9", 100), to_range("bytes=90-", 100), to_range("bytes=-10", 100)
    ((0, 10), (90, 100), (90, 100))
    >>> to_range("bytes=200-", 100), to_range("bytes=0-1,5-6", 100)
    ((100, 100), None)
    """
    match = _RANGE.fullmatch(asked.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size_bytes - int(match[2])), size_bytes
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None
    return min(start, size_bytes), min(int(match[2]) + 1, size_bytes) if match[2] else size_bytes


def to_disposition(path: str) -> str:
    """Returns the header by which a browser saves the artifact under its last name.

    Source: RFC 6266 and RFC 8187

    >>> to_disposition('plots/"a" 1.png')
    "attachment; filename*=UTF-8''%22a%22%201.png"
    """
    return f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2], safe='')}"


def _answer(
    request: Request, status: int, headers: dict[str, str], size_bytes: int, read: Callable[[], Iterator[bytes]]
) -> Response:
    headers = {**headers, "Content-Length": str(size_bytes)}
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=MEDIA_TYPE)
    parts = read()
    first = next(parts, b"")  # what is wrong with it is told while it still can be
    return StreamingResponse(_chain(first, parts), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def _chain(first: bytes, parts: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from parts
