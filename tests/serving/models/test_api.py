"""The registry of models as programs read it."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from switchyard.core.registry.rows import Tombstone
from switchyard.core.registry.stages import Stage, Validation
from tests.clients.results.places import Place
from tests.serving.models.factories import EVIDENCE, SHOP, files, judge, promote, register, stage, tag


def get(client: TestClient, path: str, **asked: Any) -> Any:
    answer = client.get(path, params=asked or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


def walk(client: TestClient, path: str, key: str) -> list[Any]:
    """All items of all pages, as `next` leads to them."""
    found: list[Any] = []
    following: str | None = path
    while following:
        page = get(client, following)
        found += page[key]
        following = page["next"]
    return found


def test_models_are_listed_with_who_answers_and_what_happened_last(any_client: TestClient, any_place: Place) -> None:
    """By name; one with nothing in Production says so; pages lead to each once."""
    assert get(any_client, "/api/models/") == {"items": [], "next": None}
    for name in ("b", "A", "a c"):
        register(any_place, name)
    register(any_place, "b")
    promote(any_place, 1, None, name="b", reason="the first")
    stage(any_place, 2, name="b", share=0.25)
    found = walk(any_client, "/api/models/?limit=2", "items")
    assert [one["name"] for one in found] == ["A", "a c", "b"]
    assert (found[0]["production"], found[0]["challenger"], found[0]["version_count"]) == (None, None, 1)
    last = found[2]
    assert last["challenger"] == {"version": 2, "share": 0.25}
    assert (last["version_count"], last["last_number"], last["revision"]) == (2, 2, 4)
    assert {key: last["production"][key] for key in ("version", "by", "act", "reason", "forced")} == {
        "version": 1,
        "by": "bob",
        "act": "promoted",
        "reason": "the first",
        "forced": False,
    }
    assert (last["last_change"]["act"], last["last_change"]["by"], last["last_change"]["version"]) == (
        "moved",
        "eve",
        2,
    )


def test_model_has_aliases_and_versions_in_pages(any_client: TestClient, any_place: Place) -> None:
    """The newest first, tombstoned ones too."""
    for _ in range(5):
        register(any_place)
    promote(any_place, 2, None)
    any_place.models.set_alias(SHOP, "nightly", 4)
    any_place.models.tombstone(Tombstone(name=SHOP, version=3, reason="leaks"))
    model = get(any_client, f"/api/models/{SHOP}/")
    assert model["aliases"] == {"champion": 2, "nightly": 4}
    assert (model["production"]["version"], model["next"]) == (2, None)
    versions = walk(any_client, f"/api/models/{SHOP}/?limit=2", "versions")
    assert versions == model["versions"]
    assert [one["version"] for one in versions] == [5, 4, 3, 2, 1]
    assert [one["version"] for one in versions if one["tombstoned_at"]] == [3]
    assert (versions[3]["stage"], versions[0]["validation_status"]) == ("Production", "pending")


def test_version_has_its_files_lineage_and_evidence(any_client: TestClient, any_place: Place) -> None:
    """The evidence as it was kept, with keys that no one here knows."""
    register(any_place, run=7, data_uri="gs://data", image="i@sha256:1", code_version="0.2.0")
    register(any_place, listed=files(**{"é/ö": "e"}))
    promote(any_place, 1, None)
    judge(any_place, 2, 1)
    found = get(any_client, f"/api/models/{SHOP}/versions/2/")
    assert [one["path"] for one in found["files"]] == [
        "embeddings/products",
        "model/saved_model",
        "score/weights",
        "é/ö",
    ]
    assert (found["size_bytes"], found["validation_status"], found["compared_with"]) == (4_000, "passed", 1)
    assert found["judgement"]["evidence"] == EVIDENCE
    first = get(any_client, f"/api/models/{SHOP}/versions/1/")
    assert first["aliases"] == ["champion"]
    assert first["lineage"] == {
        "quick_test_id": 7,
        "run_key": "",
        "data_uri": "gs://data",
        "image": "i@sha256:1",
        "code_version": "0.2.0",
        "trained_until": "",
        "parameters": {"epochs": 5},
    }


@pytest.mark.parametrize("evidence", [{}, {"": {"": []}}, {"a": None, "b": [[1, [2]]]}, {"x": "\0\ud800é"}])
def test_evidence_of_any_shape_is_sent(client: TestClient, place: Place, evidence: dict[str, Any]) -> None:
    """What no database can hold was replaced when it was stored."""
    register(place)
    stored = {key: "\ufffd\ufffdé" if key == "x" else value for key, value in evidence.items()}
    if "x" in evidence:
        evidence = {"x": "\ufffd\ufffdé"}
    judge(place, 1, None, evidence=evidence)
    assert get(client, f"/api/models/{SHOP}/versions/1/")["judgement"]["evidence"] == stored


def test_history_is_newest_first_in_pages_and_narrowed(any_client: TestClient, any_place: Place) -> None:
    """A page's `next` keeps what was asked."""
    register(any_place)
    register(any_place)
    promote(any_place, 1, None)
    judge(any_place, 2, 1, status=Validation.FAILED)
    promote(any_place, 2, 1, force=True, reason="more products")
    path = f"/api/models/{SHOP}/history/"
    lines = get(any_client, path)["items"]
    assert [line["seq"] for line in lines] == [6, 5, 4, 3, 2, 1]
    assert walk(any_client, f"{path}?limit=4", "items") == lines
    assert walk(any_client, f"{path}?version=2&limit=1", "items") == [line for line in lines if line["version"] == 2]
    (forced,) = get(any_client, path, forced="true")["items"]
    assert (forced["act"], forced["reason"], forced["replaced"]) == ("promoted", "more products", 1)
    (judged,) = get(any_client, path, act="validated")["items"]
    assert (judged["evidence"]["status"], judged["evidence"]["evidence"]) == ("failed", EVIDENCE)


def test_who_was_in_production_then(any_client: TestClient, any_place: Place) -> None:
    """At each line's time; before the first none; after the champion was archived none."""
    register(any_place)
    register(any_place)
    promote(any_place, 1, None)
    promote(any_place, 2, 1, force=True, reason="better")
    stage(any_place, 2, Stage.ARCHIVED, reason="bad")
    path = f"/api/models/{SHOP}/history/"
    lines = get(any_client, path)["items"]
    for line in lines:
        found = get(any_client, path, at=line["at"])
        there = any_place.models.find_production(SHOP, datetime.fromisoformat(line["at"]))
        assert (found["production"] or {}).get("version") == there
        assert found["items"] == [one for one in lines if one["at"] <= line["at"]]
        assert datetime.fromisoformat(found["at"]) == datetime.fromisoformat(line["at"])
    before = datetime.fromisoformat(lines[-1]["at"]) - timedelta(seconds=1)
    early = get(any_client, path, at=before.isoformat())
    assert (early["production"], early["items"]) == (None, [])
    second = next(line for line in lines if line["act"] == "promoted")
    found = get(any_client, path, at=second["at"])["production"]
    assert (found["version"], found["forced"], found["reason"], found["by"]) == (2, True, "better", "bob")
    assert get(any_client, path)["production"] is None


def test_unknown_models_and_versions_are_not_found(any_client: TestClient, any_place: Place) -> None:
    """Names that no model can have too."""
    register(any_place)
    names = ["nothing", "\0", "a\0b", "x" * 5_000, "é", "..", "%", "a?b", "\u202e", "' OR 1=1 --"]
    for name in names:
        for path in ("", "history/", "versions/1/"):
            answer = any_client.get(f"/api/models/{quote(name, safe='')}/{path}")
            assert (answer.status_code, answer.json()["title"]) == (404, "Not Found"), (name, path)
    for path in (f"/api/models/{SHOP}/versions/2/", f"/api/models/{SHOP}/versions/2147483647/"):
        assert any_client.get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "?limit=0",
        "?limit=201",
        "?after=%00",
        "?after=a&after=b",
        "?before=1",
        "shop/?before=0",
        "shop/?before=2147483648",
        "shop/?at=2026-01-01",
        "shop/?limit=1&limit=1",
        "shop/versions/0/",
        "shop/versions/1/?at=x",
        "shop/versions/x/",
        "shop/history/?at=yesterday",
        "shop/history/?at=0001-01-01T00:00:00%2B23:00",
        "shop/history/?act=deleted",
        "shop/history/?forced=yes",
        "shop/history/?version=-1",
        "shop/history/?seq=3",
    ],
)
def test_parameters_that_are_not_taken_are_refused(client: TestClient, place: Place, path: str) -> None:
    """422, in words, as elsewhere."""
    register(place)
    answer = client.get(f"/api/models/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_answers_are_sent_once_to_who_has_them(client: TestClient, place: Place) -> None:
    """304 by ETag until something changes; HEAD, and without the last slash."""
    register(place)
    for path in ("/api/models/", f"/api/models/{SHOP}/", f"/api/models/{SHOP}/history/"):
        first = client.get(path)
        again = client.get(path.rstrip("/"), headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.head(path).status_code == 200
    etag = client.get(f"/api/models/{SHOP}/versions/1/").headers["etag"]
    promote(place, 1, None)
    changed = client.get(f"/api/models/{SHOP}/versions/1/", headers={"If-None-Match": etag})
    assert (changed.status_code, changed.json()["stage"]) == (200, "Production")


def test_version_without_files_is_answered(client: TestClient, place: Place) -> None:
    """As an import leaves one whose files cannot be read."""
    register(place)
    place.sql("DROP TRIGGER switchyard_model_files_no_delete")
    place.sql("DELETE FROM switchyard_model_files")
    tag(place, 1, "team", "search")
    found = get(client, f"/api/models/{SHOP}/versions/1/")
    assert (found["files"], found["size_bytes"], found["tags"]) == ([], 0, {"team": "search"})
