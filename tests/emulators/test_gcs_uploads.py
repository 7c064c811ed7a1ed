"""Uploads to the Cloud Storage endpoint by plain HTTP: checksums, resumable ones, and malformed ones."""

import os

import httpx
import pytest

from tests.emulators.gcs_http import CHUNK, OBJECTS, UPLOAD, crc32c, md5, multipart, start


@pytest.mark.parametrize(
    ("how", "headers", "resource"),
    [
        ("media", {"x-goog-hash": f"crc32c={crc32c(b'other')}"}, {}),
        ("media", {"content-md5": md5(b"other")}, {}),
        ("multipart", {"x-goog-hash": f"md5={md5(b'other')}"}, {}),
        ("multipart", {}, {"crc32c": crc32c(b"other")}),
        ("multipart", {}, {"md5Hash": md5(b"other")}),
        ("resumable", {"x-goog-hash": f"crc32c={crc32c(b'other')}"}, {}),
        ("resumable", {}, {"crc32c": crc32c(b"other")}),
    ],
)
def test_wrong_checksum_is_refused(
    http: httpx.Client, how: str, headers: dict[str, str], resource: dict[str, str]
) -> None:
    """400, and nothing is stored; with the right one it is."""
    for data, expected in ((b"sent", 400), (b"other", 200)):
        if how == "media":
            answer = http.post(UPLOAD, params={"uploadType": "media", "name": "a"}, content=data, headers=headers)
        elif how == "multipart":
            body, kind = multipart({"name": "a", **resource}, data)
            answer = http.post(UPLOAD, params={"uploadType": "multipart"}, content=body, headers={**headers, **kind})
        else:
            location = start(http, "a", **resource)
            answer = http.put(location, content=data, headers=headers)
        assert answer.status_code == expected, answer.text
        assert http.get(f"{OBJECTS}/a").status_code == (404 if expected == 400 else 200)


def test_resumable_upload_takes_chunks_and_tells_how_far_it_is(http: httpx.Client) -> None:
    """308 with the range that is kept; a status query says the same; the last chunk makes the object."""
    data = os.urandom(CHUNK * 2 + 100)
    total = len(data)
    location = start(http, "a")
    asked = http.put(location, headers={"content-range": f"bytes */{total}"})
    assert (asked.status_code, asked.headers.get("range")) == (308, None)
    first = http.put(location, content=data[:CHUNK], headers={"content-range": f"bytes 0-{CHUNK - 1}/{total}"})
    asked = http.put(location, headers={"content-range": f"bytes */{total}"})
    for answer in (first, asked):
        assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{CHUNK - 1}")
    last = http.put(location, content=data[CHUNK:], headers={"content-range": f"bytes {CHUNK}-{total - 1}/{total}"})
    assert (last.status_code, last.json()["size"]) == (200, str(total))
    again = http.put(location, headers={"content-range": f"bytes */{total}"})
    assert (again.status_code, again.json()["generation"]) == (200, last.json()["generation"])
    assert http.get(f"/download{OBJECTS}/a?alt=media").content == data


def test_resumable_upload_keeps_multiples_of_a_chunk(http: httpx.Client) -> None:
    """What is beyond must be sent again; less than a chunk is refused, and so is a gap."""
    location = start(http, "a")
    too_small = http.put(location, content=b"x" * 1024, headers={"content-range": "bytes 0-1023/*"})
    assert too_small.status_code == 400
    assert "262144" in too_small.text
    uneven = http.put(location, content=b"x" * (CHUNK + 5), headers={"content-range": f"bytes 0-{CHUNK + 4}/*"})
    assert (uneven.status_code, uneven.headers["range"]) == (308, f"bytes=0-{CHUNK - 1}")
    gap = http.put(
        location, content=b"x" * CHUNK, headers={"content-range": f"bytes {CHUNK * 2}-{CHUNK * 3 - 1}/{CHUNK * 4}"}
    )
    assert gap.status_code == 503
    assert http.get(f"{OBJECTS}/a").status_code == 404


def test_resumable_upload_checks_its_precondition_at_the_end(http: httpx.Client) -> None:
    """Two that started together: the second to end is refused."""
    first, second = (start(http, "a", "&ifGenerationMatch=0") for _ in range(2))
    assert http.put(first, content=b"first").status_code == 200
    assert http.put(second, content=b"second").status_code == 412
    assert http.get(f"/download{OBJECTS}/a?alt=media").content == b"first"


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("bytes 0-9/20", b"too short"),
        ("bytes 0-/20", b"x"),
        ("0-9/20", b"0123456789"),
        ("bytes 0-9/30", b"0123456789"),
    ],
)
def test_contradictory_content_range_is_refused(http: httpx.Client, header: str, body: bytes) -> None:
    """400."""
    answer = http.post(f"{UPLOAD}?uploadType=resumable", json={"name": "a"}, headers={"x-upload-content-length": "20"})
    assert http.put(answer.headers["location"], content=body, headers={"content-range": header}).status_code == 400


def test_unknown_or_cancelled_upload_is_not_found(http: httpx.Client) -> None:
    """Start again."""
    location = start(http, "a")
    assert http.delete(location).status_code == 499
    assert http.put(location, content=b"x").status_code == 404


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("uploadType=multipart", multipart({"name": "a"}, b"x", b"\n")),
        ("uploadType=multipart", multipart({"name": "a", "contentTyp": "text/plain"}, b"x")),
        ("uploadType=multipart", multipart({"name": "a", "metadata": {"k": 1}}, b"x")),
        ("uploadType=multipart", multipart({"name": "a", "metadata": {"k": "v" * 8200}}, b"x")),
        ("uploadType=multipart", multipart({}, b"x")),
        ("uploadType=multipart", (b"no parts", {"content-type": "application/json"})),
        ("uploadType=media", (b"x", {})),
        ("uploadType=media&name=a&ifGenerationMatch=new", (b"x", {})),
        ("uploadType=ftp&name=a", (b"x", {})),
        ("name=a", (b"x", {})),
        ("uploadType=resumable", (b"{not json", {})),
    ],
)
def test_malformed_upload_is_refused(http: httpx.Client, query: str, body: tuple[bytes, dict[str, str]]) -> None:
    """400, with words; nothing is stored."""
    answer = http.post(f"{UPLOAD}?{query}", content=body[0], headers=body[1])
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]
    assert "items" not in http.get(OBJECTS).json()
