"""Requests to the Cloud Storage endpoint by plain HTTP, for its tests."""

import base64
import hashlib
import json
from typing import Any

import google_crc32c
import httpx

BUCKET = "switchyard-test"
OBJECTS = f"/storage/v1/b/{BUCKET}/o"
UPLOAD = f"/upload{OBJECTS}"
CHUNK = 256 * 1024


def put(http: httpx.Client, name: str, data: bytes = b"x", **query: object) -> httpx.Response:
    params = {"uploadType": "media", "name": name, **query}
    return http.post(UPLOAD, params={k: str(v) for k, v in params.items()}, content=data)


def multipart(resource: dict[str, Any], data: bytes, line_end: bytes = b"\r\n") -> tuple[bytes, dict[str, str]]:
    lines = [
        b"--xyz",
        b"content-type: application/json",
        b"",
        json.dumps(resource).encode(),
        b"--xyz",
        b"content-type: text/plain",
        b"",
        data,
        b"--xyz--",
    ]
    return line_end.join(lines), {"content-type": 'multipart/related; boundary="xyz"'}


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def start(http: httpx.Client, name: str, query: str = "", **resource: object) -> str:
    answer = http.post(f"{UPLOAD}?uploadType=resumable{query}", json={"name": name, **resource})
    assert answer.status_code == 200, answer.text
    return answer.headers["location"]
