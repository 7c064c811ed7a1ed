"""The three ways to upload an object: media, multipart, and resumable in chunks, whose sessions survive a restart.

Source: https://cloud.google.com/storage/docs/uploads-downloads and
https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

import re
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from tests.emulators.gcs_resources import StoredObject
from tests.emulators.gcs_rules import CHUNK_BYTES, Preconditions, Refused, check_metadata, check_object_name
from tests.emulators.gcs_store import Store


class Progress(msgspec.Struct, frozen=True):
    """How much of a resumable upload is kept, or the object that it has become."""

    received: int
    stored: StoredObject | None = None


def insert_media(
    store: Store, bucket: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
) -> StoredObject:
    """``uploadType=media``: the body is the object, the query names it. Raises: Refused."""
    resource = {"contentType": headers.get("content-type", "application/octet-stream")}
    return store.insert(
        bucket, query.get("name", ""), body, resource, Preconditions.from_query(query), hashes=_hash_header(headers)
    )


def insert_multipart(
    store: Store, bucket: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
) -> StoredObject:
    """``uploadType=multipart``: a JSON resource, then the object. Raises: Refused."""
    sent, part_type, data = _split(headers.get("content-type", ""), body)
    resource = {"contentType": part_type, **check_metadata(sent)}
    hashes = {key: str(sent[key]) for key in ("crc32c", "md5Hash") if sent.get(key)}
    return store.insert(
        bucket,
        str(sent.get("name") or query.get("name", "")),
        data,
        resource,
        Preconditions.from_query(query),
        hashes=_hash_header(headers) | hashes,
    )


def start_resumable(
    store: Store, bucket: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
) -> str:
    """Opens a session and returns its id.

    The preconditions are only kept here and checked when the upload ends, so that a start succeeds where the end is
    refused (source: https://github.com/googleapis/google-cloud-java/issues/201). Raises: Refused.
    """
    sent = _resource(body or b"{}")
    name = str(sent.get("name") or query.get("name", ""))
    check_object_name(name)
    store.read_bucket(bucket)
    Preconditions.from_query(query)
    content_type = headers.get("x-upload-content-type", "application/octet-stream")
    length = headers.get("x-upload-content-length")
    kept = {"contentType": content_type, **check_metadata(sent)}
    hashes = {key: str(sent[key]) for key in ("crc32c", "md5Hash") if sent.get(key)}
    upload = secrets.token_urlsafe(24)
    with store.transaction() as db:
        db.execute(
            "insert into uploads values (?, ?, ?, ?, ?, ?, 0, null)",
            [
                upload,
                bucket,
                name,
                msgspec.json.encode(dict(query)),
                msgspec.json.encode([kept, hashes]),
                int(length) if length else None,
            ],
        )
    return upload


def put_chunk(store: Store, upload: str, headers: Mapping[str, str], body: bytes) -> Progress:
    """Keeps a chunk, answers a status query (``bytes */*``), or ends the upload. Raises: Refused."""
    with store.transaction() as db:
        row = db.execute(
            "select bucket, name, query, resource, total, received, answer from uploads where id = ?", [upload]
        ).fetchone()
        if row is None:
            # Source: .../status-codes#410-gone and #404: a session that expired or never was must be started again.
            raise Refused(404, "notFound", "Upload session not found; start a new resumable upload.")
        bucket, name, query, resource, total, received, answer = row
        if answer is not None:
            return Progress(received, msgspec.json.decode(answer, type=StoredObject))
        start, size, total = _content_range(headers.get("content-range"), len(body), total)
        if start is not None:
            received = _keep(db, upload, start, size, total, received, body)
        if total is None or received < total:
            return Progress(received)
        data = b"".join(
            part for (part,) in db.execute("select data from chunks where upload = ? order by start", [upload])
        )
        kept, hashes = msgspec.json.decode(resource, type=tuple[dict[str, Any], dict[str, str]])
        conditions = Preconditions.from_query(msgspec.json.decode(query))
        stored = store.insert(bucket, name, data, kept, conditions, hashes=_hash_header(headers) | hashes)
        db.execute("update uploads set answer = ? where id = ?", [msgspec.json.encode(stored), upload])
        db.execute("delete from chunks where upload = ?", [upload])
    return Progress(received, stored)


def cancel_resumable(store: Store, upload: str) -> None:
    """Forgets a session and its chunks."""
    with store.transaction() as db:
        db.execute("delete from uploads where id = ?", [upload])
        db.execute("delete from chunks where upload = ?", [upload])


def _keep(
    db: sqlite3.Connection, upload: str, start: int, size: int, total: int | None, received: int, body: bytes
) -> int:
    """Keeps what is new of a chunk, cut to a multiple of 256 KiB unless it is the last; returns what is kept in all."""
    if start > received:
        message = f"Invalid request. According to the Content-Range header, the upload offset is {start} byte(s), "
        raise Refused(503, "backendError", message + f"which exceeds already uploaded size of {received} byte(s).")
    ends = total is not None and start + size == total
    if not ends and size < CHUNK_BYTES:
        # Source: googleapis/google-resumable-media-python, tests/system/requests/test_upload.py, BAD_CHUNK_SIZE_MSG
        message = (
            "Invalid request.  The number of bytes uploaded is required to be equal or greater than 262144, except "
            "for the final request (it's recommended to be the exact multiple of 262144).  The received request "
            f"contained {size} bytes, which does not meet this requirement."
        )
        raise Refused(400, "invalid", message)
    keep_until = start + size if ends else (start + size) // CHUNK_BYTES * CHUNK_BYTES
    if keep_until > received:
        new = body[received - start : keep_until - start]
        db.execute("insert into chunks values (?, ?, ?)", [upload, received, new])
        db.execute("update uploads set received = ?, total = ? where id = ?", [keep_until, total, upload])
        received = keep_until
    return received


def _content_range(header: str | None, length: int, total: int | None) -> tuple[int | None, int, int | None]:
    """Start (None: only asks), size and total of a chunk. Source: RFC 9110, section 14.4; no header: all in one PUT."""
    if header is None:
        return 0, length, length
    match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", header)
    if not match:
        raise Refused(400, "invalid", f"Invalid Content-Range header: {header}")
    first, last, whole = match.groups()
    if whole != "*":
        if total is not None and int(whole) != total:
            raise Refused(400, "invalid", f"The total size was {total} bytes; the Content-Range header says {whole}.")
        total = int(whole)
    if first is None:
        # `bytes */N` with N the bytes kept so far ends an upload whose size was not known before.
        return None, 0, total
    size = int(last) - int(first) + 1
    if size != length:
        raise Refused(400, "invalid", f"Content-Range is of {size} bytes; the request has {length}.")
    return int(first), size, total


def _split(content_type: str, body: bytes) -> tuple[dict[str, Any], str, bytes]:
    """The resource, the second part's type, and its bytes; CRLF strictly (RFC 2046, section 5.1.1)."""
    match = re.search(r'multipart/related;.*boundary="?([^";]+)"?', content_type)
    if not match:
        raise Refused(400, "badContent", "Multipart upload needs Content-Type multipart/related with a boundary.")
    mark = b"--" + match[1].encode()
    malformed = Refused(400, "badContent", "Malformed multipart body.")
    if not body.startswith(mark + b"\r\n") or not body.rstrip(b"\r\n").endswith(b"\r\n" + mark + b"--"):
        raise malformed
    inner = body[len(mark) + 2 : body.rindex(b"\r\n" + mark + b"--")]
    first, found, second = inner.partition(b"\r\n" + mark + b"\r\n")
    first_head, first_found, first_body = first.partition(b"\r\n\r\n")
    second_head, second_found, data = second.partition(b"\r\n\r\n")
    if not (found and first_found and second_found) or b"json" not in first_head.lower():
        raise malformed
    type_line = re.search(rb"(?im)^content-type:\s*(.+?)\s*$", second_head)
    return _resource(first_body), type_line[1].decode() if type_line else "application/octet-stream", data


def _resource(text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise Refused(400, "parseError", "Parse Error") from err


def _hash_header(headers: Mapping[str, str]) -> dict[str, str]:
    """``x-goog-hash: crc32c=...,md5=...`` and ``content-md5``.

    Source: docs/xml-api/reference-headers#xgooghash
    """
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    pairs = (item.strip().partition("=") for item in headers.get("x-goog-hash", "").split(",") if item.strip())
    found = {names[label]: value for label, _, value in pairs if label in names}
    if "content-md5" in headers:
        found["md5Hash"] = headers["content-md5"]
    return found
