"""What a client has and takes: an ETag on what is sent, 304 when it has it already, gzip when it accepts that."""

import gzip
import hashlib
import re
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')

REVALIDATE: Final = "no-cache"
"""`Cache-Control` of everything that may change: keep it, but ask before each use."""
PACKED_BYTES: Final = 1_000
"""What is larger is worth packing."""
NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}


def to_etag(content: bytes) -> str:
    """Returns an entity tag, quotes included, that differs where `content` does."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def has_already(request: Request, etag: str) -> bool:
    """Returns whether If-None-Match names `etag`: in a list, weak or strong, or as ``*``.

    Source: RFC 9110, section 13.1.2 (the comparison is the weak one, so ``W/`` makes no difference).
    """
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    return given.strip() == "*" or etag.removeprefix("W/") in _TAG.findall(given)


def accepts_gzip(accept_encoding: str) -> bool:
    """Returns whether an Accept-Encoding header allows gzip. Source: RFC 9110, section 12.5.3."""
    weights = {}
    for item in accept_encoding.lower().split(","):
        coding, _, parameters = item.partition(";")
        refused = re.fullmatch(r"\s*q=0(\.0*)?\s*", parameters)
        weights[coding.strip()] = not refused
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


def answer(
    request: Request, content: bytes, etag: str, *, media_type: str, headers: dict[str, str] | None = None
) -> Response:
    """Answers `content` under `etag`, or 304 without a body; a client may keep both but asks again before each use."""
    sent = {"ETag": etag, "Cache-Control": REVALIDATE, **NOSNIFF, **(headers or {})}
    if has_already(request, etag):
        sent.pop("Content-Encoding", None)
        return Response(status_code=304, headers=sent)
    return Response(content, media_type=media_type, headers=sent)


class Packable(msgspec.Struct, frozen=True):
    """Content in both encodings under one weak tag: it stands for either."""

    plain: bytes
    packed: bytes
    etag: str

    @classmethod
    def of(cls, content: bytes) -> "Packable":
        """Packs `content`, and gives it a tag."""
        return cls(content, gzip.compress(content, 6, mtime=0), "W/" + to_etag(content))


def answer_packable(
    request: Request, content: Packable, *, media_type: str, headers: dict[str, str] | None = None
) -> Response:
    """Answers as `answer` does, packed if the client accepts that."""
    sent = {**(headers or {}), "Vary": "Accept-Encoding"}
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        packed = {**sent, "Content-Encoding": "gzip"}
        return answer(request, content.packed, content.etag, media_type=media_type, headers=packed)
    return answer(request, content.plain, content.etag, media_type=media_type, headers=sent)


def answer_json(request: Request, content: bytes) -> Response:
    """Answers JSON made for this request, packed for clients that accept it. One weak tag stands for both encodings."""
    headers, etag = {"Vary": "Accept-Encoding"}, "W/" + to_etag(content)
    if len(content) > PACKED_BYTES and accepts_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        if not has_already(request, etag):
            content = gzip.compress(content, compresslevel=1, mtime=0)
    return answer(request, content, etag, media_type="application/json", headers=headers)
