"""What each request to the Cloud Storage JSON API does, as plain functions of the request's parts.

Source of answers: https://cloud.google.com/storage/docs/json_api/v1
"""

import gzip
import re
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from tests.emulators.gcs_push import Pusher
from tests.emulators.gcs_resources import StoredObject
from tests.emulators.gcs_rules import Preconditions, Refused, check_metadata
from tests.emulators.gcs_store import Store
from tests.emulators.gcs_uploads import (
    cancel_resumable,
    insert_media,
    insert_multipart,
    put_chunk,
    start_resumable,
)


class Calls:
    """What each request does, once its fault allows: plain functions of the request's parts."""

    def __init__(
        self,
        store: Store,
        pusher: Pusher,
        root: str,
        query: dict[str, str],
        headers: Mapping[str, str],
        body: bytes,
        *,
        names_no_size: bool = False,
    ) -> None:
        self.store, self.pusher, self.root = store, pusher, root
        self.names_no_size = names_no_size
        self.query, self.headers, self.body = query, headers, body

    @property
    def _generation(self) -> int | None:
        text = self.query.get("generation")
        if text is not None and not text.isdecimal():
            raise Refused(400, "invalid", f"Invalid value: {text}", location=("parameter", "generation"))
        return int(text) if text else None

    def list_buckets(self) -> Response:
        return self._resource({"kind": "storage#buckets", "items": self.store.list_buckets()})

    def create_bucket(self) -> Response:
        sent = _decode(self.body)
        return self._resource(self.store.create_bucket(str(sent.get("name", "")), sent))

    def read_bucket(self, bucket: str) -> Response:
        return self._resource(self.store.read_bucket(bucket))

    def patch_bucket(self, bucket: str) -> Response:
        return self._resource(self.store.patch_bucket(bucket, _decode(self.body)))

    def delete_bucket(self, bucket: str) -> Response:
        self.store.delete_bucket(bucket)
        return Response(status_code=204)

    def list(self, bucket: str) -> Response:
        page = self.store.list(bucket, self.query)
        shown: dict[str, Any] = {"kind": "storage#objects"}
        shown |= {"nextPageToken": page.next_page_token} if page.next_page_token else {}
        shown |= {"prefixes": page.prefixes} if page.prefixes else {}
        shown |= {"items": [self._show(item) for item in page.items]} if page.items else {}
        return self._resource(shown)

    def stat(self, bucket: str, name: str) -> Response:
        found = self.store.stat(bucket, name, Preconditions.from_query(self.query), generation=self._generation)
        return self._resource(self._show(found))

    def download(self, bucket: str, name: str) -> Response:
        conditions = Preconditions.from_query(self.query)
        found, data = self.store.read(bucket, name, conditions, generation=self._generation)
        return _to_media(found, data, self.headers)

    def delete(self, bucket: str, name: str) -> Response:
        conditions = Preconditions.from_query(self.query)
        with self.store.transaction():
            found = self.store.stat(bucket, name, Preconditions(), generation=self._generation)
            self.store.delete(bucket, name, conditions, generation=self._generation)
        self.pusher.notify("OBJECT_DELETE", found, self._show(found))
        return Response(status_code=204)

    def patch(self, bucket: str, name: str) -> Response:
        changes = check_metadata(_decode(self.body))
        found = self.store.patch(bucket, name, changes, Preconditions.from_query(self.query))
        return self._resource(self._show(found))

    def compose(self, bucket: str, name: str) -> Response:
        sent = _decode(self.body)
        resource = check_metadata(sent.get("destination") or {})
        sources = sent.get("sourceObjects") or []
        stored = self.store.compose(bucket, name, sources, resource, Preconditions.from_query(self.query))
        return self._written(stored)

    def copy(self, source: str, source_name: str, bucket: str, name: str, *, rewrite: bool) -> Response:
        generation = self.query.get("sourceGeneration")
        with self.store.transaction():
            found, data = self.store.read(
                source,
                source_name,
                Preconditions.from_query(self.query, prefix="ifSource"),
                generation=int(generation) if generation else None,
            )
            changes = check_metadata(_decode(self.body))
            resource = changes or found.resource
            stored = self.store.insert(bucket, name, data, resource, Preconditions.from_query(self.query))
        if not rewrite:
            return self._written(stored)
        self._notify(stored)
        size = str(stored.size)
        answer = {"kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size, "done": True}
        return self._resource({**answer, "resource": self._show(stored)})

    def insert(self, bucket: str, how: str) -> Response:
        insert = insert_media if how == "media" else insert_multipart
        return self._written(insert(self.store, bucket, self.query, self.headers, self.body))

    def start_upload(self, bucket: str, name: str) -> Response:
        upload = start_resumable(self.store, bucket, self.query, self.headers, self.body)
        location = (
            f"{self.root}/upload/storage/v1/b/{bucket}/o?uploadType=resumable"
            f"&name={quote(name, safe='')}&upload_id={upload}"
        )
        return Response(headers={"Location": location, "X-GUploader-UploadID": upload})

    def put_chunk(self) -> Response:
        progress = put_chunk(self.store, self.query["upload_id"], self.headers, self.body)
        if progress.stored:
            return self._written(progress.stored)
        kept = {"Range": f"bytes=0-{progress.received - 1}"} if progress.received else {}
        return Response(status_code=308, headers=kept)

    def cancel_upload(self) -> Response:
        cancel_resumable(self.store, self.query["upload_id"])
        return Response(status_code=499)  # Source: docs/performing-resumable-uploads#cancel-upload

    def _show(self, stored: StoredObject) -> dict[str, Any]:
        shown = stored.to_resource(self.root)
        if self.names_no_size and not stored.size:
            del shown["size"]
        return shown

    def _written(self, stored: StoredObject) -> Response:
        self._notify(stored)
        return self._resource(self._show(stored))

    def _notify(self, stored: StoredObject) -> None:
        self.pusher.notify("OBJECT_FINALIZE", stored, self._show(stored))

    def _resource(self, resource: dict[str, Any]) -> Response:
        return to_json(_select(resource, self.query["fields"]) if self.query.get("fields") else resource)


def _to_media(found: StoredObject, data: bytes, headers: Mapping[str, str]) -> Response:
    """The bytes, or the part that ``Range`` asks for, with the headers that let a reader check them.

    Source: https://cloud.google.com/storage/docs/json_api/v1/objects/get, .../docs/transcoding
    """
    encoding = str(found.resource.get("contentEncoding", ""))
    hashes = f"crc32c={found.crc32c}" + (f",md5={found.md5}" if found.md5 else "")
    shown = {
        "Content-Type": str(found.resource.get("contentType", "application/octet-stream")),
        "ETag": f'"{found.md5 or found.crc32c}"',
        "Last-Modified": formatdate(found.updated, usegmt=True),
        "X-Goog-Hash": hashes,
        "X-Goog-Generation": str(found.generation),
        "X-Goog-Metageneration": str(found.metageneration),
        "X-Goog-Stored-Content-Length": str(found.size),
        "X-Goog-Stored-Content-Encoding": encoding or "identity",
        "X-Goog-Storage-Class": "STANDARD",
    }
    if encoding == "gzip" and "gzip" not in headers.get("accept-encoding", ""):
        return Response(gzip.decompress(data), headers=shown)  # a range is ignored when transcoding
    shown |= {"Content-Encoding": encoding} if encoding else {}
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
    if not match or match.groups() == ("", ""):
        return Response(data, headers=shown)
    first, last = match.groups()
    start = int(first) if first else max(len(data) - int(last), 0)
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start >= len(data) or start > end:
        return Response("Requested range not satisfiable", 416, {"Content-Range": f"bytes */{len(data)}"})
    shown["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Response(data[start : end + 1], 206, shown)


def _select(value: Any, fields: str) -> Any:
    """A partial response: ``items(name,generation),nextPageToken``, ``a/b``, ``*``.

    Source: https://cloud.google.com/storage/docs/json_api#partial-response
    """
    if isinstance(value, list):
        return [_select(item, fields) for item in value]
    kept: dict[str, Any] = {}
    for path in re.findall(r"[^,()]+(?:\([^()]*\))?", fields):
        name, _, inner = path.rstrip(")").replace("(", "/", 1).partition("/")
        for key in value if name == "*" else [name]:
            if key in value:
                kept[key] = _select(value[key], inner) if inner else value[key]
    return kept


def _decode(body: bytes) -> dict[str, Any]:
    try:
        # A patch that changes nothing comes without a body (google-cloud-core drops an empty one).
        return msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise Refused(400, "parseError", "Parse Error") from err


def to_json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json; charset=UTF-8")
