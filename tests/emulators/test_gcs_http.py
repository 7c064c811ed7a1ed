"""The Cloud Storage endpoint by plain HTTP: what Google's client never sends, or never shows."""

import base64
import gzip
import json
import os
import queue
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.emulators.faults import Fault
from tests.emulators.gcs import Gcs, start_gcs
from tests.emulators.gcs_http import BUCKET, CHUNK, OBJECTS, UPLOAD, crc32c, md5, multipart, put, start
from tests.emulators.gcs_push import PushConfig
from tests.emulators.server import serve_in_thread


def test_refused_write_says_why_as_google_does(http: httpx.Client) -> None:
    """412 with the JSON error that clients read."""
    assert put(http, "a", ifGenerationMatch=0).status_code == 200
    answer = put(http, "a", ifGenerationMatch=0)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (412, 412)
    assert error["errors"] == [
        {
            "message": "At least one of the pre-conditions you specified did not hold.",
            "domain": "global",
            "reason": "conditionNotMet",
            "locationType": "header",
            "location": "If-Match",
        }
    ]


def test_resource_shows_64_bit_numbers_as_strings(http: httpx.Client) -> None:
    """As all of Google's JSON; the checksums are base64."""
    resource = put(http, "a", b"hello").json()
    assert resource["size"] == "5"
    assert int(resource["generation"]) > 10**15
    assert (resource["crc32c"], resource["md5Hash"]) == (crc32c(b"hello"), md5(b"hello"))


def test_slash_in_a_name_is_not_a_path(http: httpx.Client) -> None:
    """`a%2Fb` is one object; `a/b` is no path of the API."""
    put(http, "a/b")
    assert http.get(f"{OBJECTS}/a%2Fb").json()["name"] == "a/b"
    assert http.get(f"{OBJECTS}/a/b").status_code == 404


def test_download_bears_hashes_and_generation(http: httpx.Client) -> None:
    """A reader can check what it got, also of a part."""
    generation = put(http, "a", b"0123456789").json()["generation"]
    whole = http.get(f"/download{OBJECTS}/a?alt=media")
    part = http.get(f"/download{OBJECTS}/a?alt=media", headers={"range": "bytes=2-4"})
    assert (whole.status_code, part.status_code, part.content) == (200, 206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    for answer in (whole, part):
        assert answer.headers["x-goog-generation"] == generation
        assert answer.headers["x-goog-hash"] == f"crc32c={crc32c(b'0123456789')},md5={md5(b'0123456789')}"
        assert answer.headers["x-goog-stored-content-length"] == "10"


@pytest.mark.parametrize(
    "name",
    ["ab", "a" * 64, "Upper", "-a-", "a_", "192.168.5.4", "goog-runs", "my-google-runs", "g00gle", "a..b", "a b"],
)
def test_bucket_names_follow_the_rules(http: httpx.Client, name: str) -> None:
    """400 for what Cloud Storage refuses."""
    assert http.post("/storage/v1/b?project=p", json={"name": name}).status_code == 400


@pytest.mark.parametrize("name", ["a1b", "a" * 63, "a-b_c", "a" * 63 + ".example.com"])
def test_legal_bucket_names_are_taken(http: httpx.Client, name: str) -> None:
    """And can be deleted again."""
    assert http.post("/storage/v1/b?project=p", json={"name": name}).status_code == 200
    assert http.delete(f"/storage/v1/b/{name}").status_code == 204


@pytest.mark.parametrize("query", ["maxResults=0", "maxResults=x", "pageToken=!", "matchGlob=[z-a]"])
def test_malformed_list_is_refused(http: httpx.Client, query: str) -> None:
    """400."""
    put(http, "a")
    assert http.get(f"{OBJECTS}?{query}").status_code == 400


def test_gzip_is_unpacked_for_who_does_not_take_it(http: httpx.Client) -> None:
    """An object stored with Content-Encoding gzip; its hash is of the stored bytes."""
    packed = gzip.compress(b"hello")
    body, kind = multipart({"name": "a", "contentEncoding": "gzip"}, packed)
    http.post(UPLOAD, params={"uploadType": "multipart"}, content=body, headers=kind)
    for accepted in ("identity", "gzip"):
        answer = http.get(f"/download{OBJECTS}/a?alt=media", headers={"accept-encoding": accepted})
        assert answer.content == b"hello"
        assert answer.headers["x-goog-hash"].startswith(f"crc32c={crc32c(packed)}")
        assert answer.headers["x-goog-stored-content-encoding"] == "gzip"


def test_token_is_demanded_when_switched_on() -> None:
    """401 for anonymous callers and for a token from elsewhere."""
    with start_gcs(token_prefix="ya29.") as server:
        answers = [
            httpx.get(f"{server.url}{OBJECTS}", headers={"authorization": value} if value else {}, trust_env=False)
            for value in ("", "Bearer stolen", "Basic ya29.x", "Bearer ya29.x")
        ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 200]
    assert "storage.objects.list" in answers[0].text
    assert "Invalid Credentials" in answers[1].text


def test_denied_permission_is_named(server: Gcs, http: httpx.Client) -> None:
    """403. Overwriting also needs the permission to delete, as on the real service."""
    put(http, "a")
    assert http.put("/_emulator/denied", json=["storage.objects.delete"]).status_code == 200
    assert put(http, "new").status_code == 200
    for answer in (put(http, "a"), http.delete(f"{OBJECTS}/a")):
        assert answer.status_code == 403
        assert "Permission 'storage.objects.delete' denied" in answer.text


def test_faults_are_ordered_by_http_too(server: Gcs, http: httpx.Client) -> None:
    """The second and third list answer 429, the fourth is right again; unknown orders are refused."""
    order = {"kind": "objects.list", "nth": 2, "times": 2, "status": 429}
    assert http.post("/_emulator/faults", json=order).status_code == 200
    assert [http.get(OBJECTS).status_code for _ in range(4)] == [200, 429, 429, 200]
    assert http.get("/_emulator/calls").json() == {"objects.list": 4}
    assert http.post("/_emulator/faults", json={"statis": 429}).status_code == 400
    assert http.get("/_emulator/health").json() == {"ok": True}


def test_broken_answer_ends_too_early(server: Gcs, http: httpx.Client) -> None:
    """The head promises more than comes."""
    put(http, "a", b"0123456789")
    server.inject(Fault(kind="objects.download", broken=True))
    with pytest.raises(httpx.RemoteProtocolError):
        http.get(f"/download{OBJECTS}/a?alt=media")


def test_notifications_are_pushed_until_acknowledged(server: Gcs, http: httpx.Client) -> None:
    """The envelope and attributes of Pub/Sub push; only for the prefix asked, again after a 500."""
    received: queue.Queue[dict[str, Any]] = queue.Queue()
    answers = [500, 204, 204]

    async def receive(request: Request) -> Response:
        received.put({"authorization": request.headers.get("authorization"), **await request.json()})
        return Response(status_code=answers[min(received.qsize(), 3) - 1])

    with serve_in_thread(Starlette(routes=[Route("/push", receive, methods=["POST"])])) as url:
        server.push_to(PushConfig(bucket=BUCKET, push_url=f"{url}/push", object_name_prefix="runs/", bearer="t"))
        put(http, "other")
        resource = put(http, "runs/1/ended.json", b"{}").json()
        first, second = received.get(timeout=30), received.get(timeout=30)
    assert first == second
    assert first["authorization"] == "Bearer t"
    attributes = first["message"]["attributes"]
    assert attributes["eventType"] == "OBJECT_FINALIZE"
    assert (attributes["bucketId"], attributes["objectId"]) == (BUCKET, "runs/1/ended.json")
    assert attributes["objectGeneration"] == resource["generation"]
    assert json.loads(base64.b64decode(first["message"]["data"])) == resource
    assert first["message"]["messageId"]
    assert first["subscription"].startswith("projects/")


def test_what_is_not_emulated_says_so(http: httpx.Client) -> None:
    """No silent success."""
    answer = http.post("/batch/storage/v1", content=b"")
    assert (answer.status_code, "not emulated" in answer.text) == (404, True)


def test_folder_outlives_a_killed_server(tmp_path: Path) -> None:
    """Objects, generations and an upload half done are there again in the next process."""
    data = os.urandom(CHUNK + 10)
    with run_server(tmp_path) as (process, http):
        first = put(http, "a", b"1").json()["generation"]
        location = start(http, "b")
        kept = http.put(location, content=data[:CHUNK], headers={"content-range": f"bytes 0-{CHUNK - 1}/*"})
        assert kept.status_code == 308
        process.kill()
        process.wait()
    with run_server(tmp_path) as (_, http):
        assert http.get(f"/download{OBJECTS}/a?alt=media").content == b"1"
        assert put(http, "a", b"2", ifGenerationMatch=0).status_code == 412
        assert int(put(http, "a", b"2", ifGenerationMatch=first).json()["generation"]) > int(first)
        path = httpx.URL(location).raw_path.decode()
        end = http.put(path, content=data[CHUNK:], headers={"content-range": f"bytes {CHUNK}-{CHUNK + 9}/{CHUNK + 10}"})
        assert end.status_code == 200
        assert http.get(f"/download{OBJECTS}/b?alt=media").content == data


class run_server:  # noqa: N801 # used as a function
    """``python -m tests.emulators.gcs`` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.emulators.gcs", "--folder", str(folder), "--bucket", BUCKET]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> tuple[subprocess.Popen[str], httpx.Client]:
        assert self._process.stdout is not None
        url = self._process.stdout.readline().removeprefix("listening on ").strip()
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        return self._process, self._http

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.terminate()
        self._process.communicate(timeout=30)
