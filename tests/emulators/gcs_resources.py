"""What Cloud Storage tells of an object or a bucket: its resource in JSON, its hashes, its times."""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import google_crc32c
import msgspec


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of an object, without its bytes."""

    bucket: str
    name: str
    generation: int
    metageneration: int
    live: bool
    crc32c: str
    md5: str | None
    size: int
    resource: dict[str, Any]
    components: int | None
    created: float
    updated: float
    deleted: float | None

    def to_resource(self, root: str) -> dict[str, Any]:
        """The object as the JSON API shows it; numbers of 64 bits are strings, as all of Google's JSON has them.

        Source: https://cloud.google.com/storage/docs/json_api/v1/objects#resource
        """
        path = f"{root}/storage/v1/b/{self.bucket}/o/{quote(self.name, safe='~')}"
        shown = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": path,
            "mediaLink": f"{root}/download{path.removeprefix(root)}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": "STANDARD",
            "size": str(self.size),
            "md5Hash": self.md5,
            "crc32c": self.crc32c,
            "etag": base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode(),
            "componentCount": self.components,
            "timeCreated": to_time(self.created),
            "timeFinalized": to_time(self.created),
            "updated": to_time(self.updated),
            "timeDeleted": to_time(self.deleted) if self.deleted else None,
            "timeStorageClassUpdated": to_time(self.created),
            **self.resource,
        }
        return {key: value for key, value in shown.items() if value is not None}


def to_bucket(row: tuple[Any, ...]) -> dict[str, Any]:
    """A bucket's row as the JSON API shows it.

    Source: https://cloud.google.com/storage/docs/json_api/v1/buckets#resource
    """
    name, resource, metageneration, created, updated = row
    return {
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "projectNumber": "1",
        "metageneration": str(metageneration),
        "location": "US",
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        "timeCreated": to_time(created),
        "updated": to_time(updated),
        **msgspec.json.decode(resource),
    }


def to_hashes(data: bytes) -> tuple[str, str]:
    """crc32c (big-endian) and md5 in base64.

    Source: https://cloud.google.com/storage/docs/data-validation
    """
    crc32c = google_crc32c.value(data).to_bytes(4, "big")
    return base64.b64encode(crc32c).decode(), base64.b64encode(
        hashlib.md5(data, usedforsecurity=False).digest()
    ).decode()


def to_time(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, as the JSON API writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
