"""The copied artifacts of a run: listed, shown on its page, and sent by name and hash."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from serving.access import to_need
from serving.app import create_app
from serving.artifacts.schemas import CopiedArtifacts
from switchyard.core.access.rules import Need
from switchyard.core.artifacts.manifest import to_object_uri
from switchyard.services.artifact_reading import PART_BYTES
from switchyard.services.artifacts import copy_runs
from tests.services.artifact_world import ArtifactWorld

LARGE = bytes(range(256)) * (3 * PART_BYTES // 256) + b"end"
FILES = {
    "model/weights.bin": LARGE,
    "plots/Größe 100%?#.png": b"png",
    "report.html": b"<script>alert(1)</script>",
    "empty": b"",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ArtifactWorld]:
    made = ArtifactWorld(tmp_path, {"a": FILES, "b": {}, "c": {"x": b"1"}})
    (made.place("a") / "link").symlink_to("elsewhere")
    copy_runs(made.outside, made.runs(quick_test_id=made.ids["a"]), made.how())
    copy_runs(made.outside, made.runs(quick_test_id=made.ids["b"]), made.how())
    yield made
    made.close()


@pytest.fixture
def client(world: ArtifactWorld) -> Iterator[TestClient]:
    here: dict[str, Any] = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 5000)}
    with TestClient(create_app(world.outside), raise_server_exceptions=False, **here) as made:
        made.headers["Accept-Encoding"] = "identity"
        yield made


def address(world: ArtifactWorld, letter: str = "a") -> str:
    return f"/api/quick-tests/{world.ids[letter]}/artifacts/"


def test_artifacts_are_listed_by_name(client: TestClient, world: ArtifactWorld) -> None:
    """With size, hash and address; what was left out says why; pages follow each other."""
    found = client.get(address(world)).json()
    TypeAdapter(CopiedArtifacts).validate_python(found)
    assert [one["path"] for one in found["items"]] == sorted(FILES)
    assert {one["path"]: one["sha256"] for one in found["items"]} == {
        path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()
    }
    assert (found["count"], found["size_bytes"], found["next"]) == (4, sum(map(len, FILES.values())), None)
    assert [one["path"] for one in found["left_out"]] == ["link"]
    page = client.get(address(world), params={"limit": 3}).json()
    rest = client.get(page["next"]).json()
    assert [one["path"] for one in page["items"] + rest["items"]] == sorted(FILES)
    assert rest["next"] is None


def test_artifacts_are_sent_as_bytes_alone(client: TestClient, world: ArtifactWorld) -> None:
    """Each address of the list answers the very bytes, to be saved; nothing of them runs as ours."""
    for one in client.get(address(world)).json()["items"]:
        sent = client.get(one["url"])
        assert (sent.status_code, sent.content) == (200, FILES[one["path"]])
        assert sent.headers["etag"] == f'"{one["sha256"]}"'
        assert sent.headers["content-type"] == "application/octet-stream"
        assert sent.headers["content-disposition"].startswith("attachment;")
        assert sent.headers["x-content-type-options"] == "nosniff"
        assert sent.headers["content-security-policy"].startswith("sandbox;")
        assert int(sent.headers["content-length"]) == len(sent.content)
        head = client.head(one["url"])
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(one["size_bytes"]))
        assert client.get(one["url"], headers={"If-None-Match": f'"{one["sha256"]}"'}).status_code == 304


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-9", 206, LARGE[:10]),
        (f"bytes={PART_BYTES - 1}-{2 * PART_BYTES}", 206, LARGE[PART_BYTES - 1 : 2 * PART_BYTES + 1]),
        ("bytes=-3", 206, b"end"),
        (f"bytes={len(LARGE) - 1}-", 206, b"d"),
        (f"bytes={len(LARGE)}-", 416, b""),
        ("bytes=9-0", 200, LARGE),
        ("bytes=0-1,5-6", 200, LARGE),
        ("lines=0-1", 200, LARGE),
    ],
)
def test_parts_are_sent_where_they_are_asked_for(
    client: TestClient, world: ArtifactWorld, asked: str, status: int, expected: bytes
) -> None:
    """A download that was broken off goes on, as long as it is the same content."""
    url = f"{address(world)}model/weights.bin"
    sent = client.get(url, headers={"Range": asked})
    assert sent.status_code == status
    assert sent.content == expected or status == 416
    if status == 206:
        assert sent.headers["content-range"].endswith(f"/{len(LARGE)}")
    other = client.get(url, headers={"Range": asked, "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, LARGE)


@pytest.mark.parametrize(
    "path",
    ["no", "model", "model/", "model/weights.bin/", "x/%2e%2e/empty", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "link", "%00"],
)
def test_other_names_are_not_found(client: TestClient, world: ArtifactWorld, path: str) -> None:
    """A name is looked up in the manifest, and never in a folder."""
    assert client.get(f"{address(world)}{path}").status_code == 404


def test_a_damaged_copy_never_comes_whole(client: TestClient, world: ArtifactWorld) -> None:
    """A small one is an error; of a large one the end is missing."""
    objects = world.outside.objects(world.to_uri)
    sha256 = {one.path: one.sha256 for one in world.manifest("a").objects}
    objects.write(to_object_uri(world.to_uri, sha256["report.html"]), b"<script>alert(2)</script>", if_generation=-1)
    objects.write(to_object_uri(world.to_uri, sha256["model/weights.bin"]), LARGE[:-1] + b"D", if_generation=-1)
    broken = client.get(f"{address(world)}report.html")
    assert (broken.status_code, "copy --again" in broken.json()["detail"]) == (500, True)
    assert len(client.get(f"{address(world)}model/weights.bin").content) < len(LARGE)
    objects.delete(to_object_uri(world.to_uri, sha256["report.html"]), if_generation=-1)
    assert "it is gone" in client.get(f"{address(world)}report.html").json()["detail"]


def test_a_run_without_copies_has_none(client: TestClient, world: ArtifactWorld) -> None:
    """No list, no section, no bytes; an unknown run is not found; unknown parameters are refused."""
    assert client.get(address(world, "c")).json() == {"available": False}
    assert client.get(f"{address(world, 'c')}x").status_code == 404
    assert client.get(address(world, "b")).json()["items"] == []
    assert client.get("/api/quick-tests/99/artifacts/").status_code == 404
    assert client.get(address(world), params={"what": "1"}).status_code == 422
    assert client.get(f"{address(world)}empty", params={"what": "1"}).status_code == 422
    for letter in "bc":
        assert 'aria-labelledby="artifacts-title" hidden>' in client.get(f"/quick-tests/{world.ids[letter]}").text


def test_the_runs_page_lists_them(client: TestClient, world: ArtifactWorld) -> None:
    """By name, with size and hash, each with its address; a manifest that is gone costs no page."""
    page = client.get(f"/quick-tests/{world.ids['a']}").text
    for one in client.get(address(world)).json()["items"]:
        assert f'href="{one["url"]}"' in page
        assert one["sha256"][:12] in page
    assert "4 artifacts" in page
    assert "1 left out" in page
    world.write("a", "new", b"new")
    copy_runs(world.outside, world.runs(quick_test_id=world.ids["a"]), world.how())
    objects = world.outside.objects(world.to_uri)
    for uri in objects.list(f"{world.to_uri}/runs/"):
        objects.delete(uri, if_generation=-1)
    again = client.get(f"/quick-tests/{world.ids['a']}")
    assert (again.status_code, "Their copies cannot be read" in again.text) == (200, True)


def test_a_token_is_needed_where_tokens_are(world: ArtifactWorld) -> None:
    """As for every other route that reads."""
    for url in (address(world), f"{address(world)}empty"):
        assert to_need("GET", url) is Need.READ
        assert to_need("HEAD", url) is Need.READ
