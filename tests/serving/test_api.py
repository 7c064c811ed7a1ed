"""The JSON API over real databases: every status, ETag, 304, HEAD and encoding."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.schemas import SERIES_EXAMPLE, FullSeriesData, HistogramData, Problem, RunList, TrainingHistory
from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.core.history.publication import FullSeries, PublishResult
from switchyard.core.metrics.record import Sampling
from switchyard.core.runs.rows import RunStatus
from tests.clients.results.places import NOW, Place, publication
from tests.postgres import Postgres
from tests.serving.conftest import open_client
from tests.serving.factories import make_record, make_run, publish_run

LEGACY = '{"available": true, "epochs": [0, 5], "loss": {"train": [1.5, NaN], "val": [1.6]},  "gradient": {}}'
BAD_IDS = ["abc", "-1", "0", "1.5", "1e3", "%20", "9" * 19, "9" * 5000, "\N{ARABIC-INDIC DIGIT ONE}", "1;drop"]


def history_url(quick_test_id: object) -> str:
    return f"/api/quick-tests/{quick_test_id}/training-history/"


def histogram_url(quick_test_id: object, query: str = "") -> str:
    return f"/api/quick-tests/{quick_test_id}/histogram-data/{query}"


def series_url(quick_test_id: object) -> str:
    return f"/api/quick-tests/{quick_test_id}/series/"


def test_the_stored_bytes_are_sent_as_stored(client: TestClient, place: Place) -> None:
    """Nothing is parsed and built again, and the tag is the one stored with them."""
    run = publish_run(place)
    stored = place.histories.read_history(run)
    answer = client.get(history_url(run))
    assert (answer.status_code, answer.content) == (200, stored.history_json)
    assert answer.headers["etag"] == f'"{stored.etag}"'
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    TrainingHistory.model_validate(answer.json())


def test_every_kind_of_database_serves_what_it_holds(any_client: TestClient, any_place: Place) -> None:
    """An application's own table, jsonb included, is served like ours; a second request is answered 304."""
    run = any_place.add_run("one")
    any_place.histories.publish(publication(run), now=NOW)
    answer = any_client.get(history_url(run))
    assert answer.content == any_place.histories.read_history(run).history_json
    assert answer.json()["loss"]["train"] == [0.9, 0.5, 0.25]
    again = any_client.get(history_url(run), headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert any_client.get(history_url(run + 1)).status_code == 404
    (line,) = any_client.get("/api/quick-tests/").json()["items"]
    assert (line["id"], line["available"]) == (run, True)
    assert any_client.get("/health").status_code == 200


@pytest.mark.parametrize("nothing", [None, "null", '{"available": false}'])
def test_a_run_with_nothing_published_says_so(client: TestClient, place: Place, nothing: str | None) -> None:
    """SQL NULL, JSON null and unavailable all mean nothing published, which is no error."""
    run = place.add_run(history=nothing)
    answer = client.get(history_url(run))
    assert (answer.status_code, answer.json()) == (200, {"available": False})
    assert client.get(histogram_url(run)).json() == {"available": False}
    assert client.get(series_url(run)).json() == {"available": False}


def test_a_legacy_payload_is_served_byte_for_byte(client: TestClient, place: Place) -> None:
    """No schema version, ragged series, bare NaN, odd spacing: as it was stored, under the bytes' own tag."""
    run = place.add_run(status="completed", history=LEGACY)
    answer = client.get(history_url(run))
    assert (answer.status_code, answer.content) == (200, LEGACY.encode())
    assert client.get(history_url(run), headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_the_tag_changes_whenever_the_bytes_do(client: TestClient, place: Place) -> None:
    """The same training, first partial, then completed, then sampled otherwise: a cached copy is never stale."""
    tags = set()
    for record, sampling in (
        (make_record(epochs=11, status="partial"), Sampling()),
        (make_record(epochs=11), Sampling()),
        (make_record(epochs=11), Sampling(interval=2)),
    ):
        run = publish_run(place, record, sampling=sampling)
        tags.add(client.get(history_url(run)).headers["etag"])
    assert len(tags) == 3


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("make_url", [history_url, histogram_url, series_url])
def test_an_impossible_id_is_refused(client: TestClient, make_url: Any, bad: str) -> None:
    """Whatever stands where an id must: 404 or 422 with a short JSON text, never 500."""
    answer = client.get(make_url(bad))
    assert answer.status_code in (404, 422)
    assert len(Problem.model_validate(answer.json()).detail) < 300


@pytest.mark.parametrize("make_url", [history_url, histogram_url, series_url])
def test_an_unknown_run_is_not_found(client: TestClient, make_url: Any) -> None:
    """404, as JSON that names the run."""
    answer = client.get(make_url(2**63 - 1))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Not Found"
    assert str(2**63 - 1) in answer.json()["detail"]


def test_a_path_that_nothing_serves_is_not_found(client: TestClient) -> None:
    """JSON below /api, also for a method that is not served."""
    assert client.get("/api/nothing").json()["detail"] == "nothing is served at /api/nothing"
    refused = client.post("/api/quick-tests/")
    assert (refused.status_code, refused.json()["status"]) == (405, 405)


def test_histograms_are_sent_packed_to_whoever_accepts_it(client: TestClient, place: Place) -> None:
    """gzip as stored, or unpacked; one weak tag for both, and caches are told what it depends on."""
    run = publish_run(place)
    url = histogram_url(run)
    stored = place.histories.read_histogram(run, "weights", "query")
    assert stored is not None
    plain = client.get(url)
    assert "content-encoding" not in plain.headers
    assert plain.content == gzip.decompress(stored)
    HistogramData.model_validate(plain.json())
    with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert b"".join(packed.iter_raw()) == stored
    assert plain.headers["etag"] == packed.headers["etag"]
    assert plain.headers["etag"].startswith('W/"')
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    again = client.get(url, headers={"If-None-Match": plain.headers["etag"], "Accept-Encoding": "gzip"})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == plain.headers["etag"]
    assert again.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in again.headers


def store_series(place: Place, run: int, found: dict[str, Any]) -> bytes:
    """Stores it as a publish does; the gzip bytes."""
    packed = gzip.compress(json.dumps(found).encode(), mtime=0)
    series = FullSeries(gzip_json=packed, digest="sha256:" + hashlib.sha256(json.dumps(found).encode()).hexdigest())
    made = msgspec.structs.replace(publication(run), series=series)
    assert place.histories.publish(made, now=NOW) is PublishResult.PUBLISHED
    return packed


def test_every_kind_of_database_serves_full_series(any_client: TestClient, any_place: Place) -> None:
    """As a histogram: gzip as stored or unpacked under one weak tag, 304, HEAD, and 404 of an unknown run."""
    run = any_place.add_run()
    stored = store_series(any_place, run, SERIES_EXAMPLE)
    url = series_url(run)
    plain = any_client.get(url)
    assert (plain.status_code, plain.json()) == (200, SERIES_EXAMPLE)
    with any_client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert b"".join(packed.iter_raw()) == stored
    assert plain.headers["etag"] == packed.headers["etag"]
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    again = any_client.get(url, headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = any_client.head(url)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", plain.headers["etag"])
    assert any_client.get(series_url(run + 1)).status_code == 404


def test_points_of_a_history_without_series_are_answered(any_client: TestClient, any_place: Place) -> None:
    """It was published before: its stored points, marked as not complete, under a tag that stands."""
    run = any_place.add_run()
    any_place.histories.publish(msgspec.structs.replace(publication(run), series=None), now=NOW)
    answer = any_client.get(series_url(run))
    FullSeriesData.model_validate(answer.json())
    assert answer.json() == {
        "available": True,
        "complete": False,
        "epochs": [0, 5, 10],
        "series": {
            "loss": {"values": [0.9, 0.5, 0.25], "kept": 3, "total": 11},
            "val_loss": {"values": [0.95, None, 0.35], "kept": 3, "total": 11},
            "gradient.total": {"values": [1.5, 1e-07, 12345.678], "kept": 3, "total": 11},
        },
        "non_finite": {},
    }
    assert any_client.get(series_url(run), headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    with any_client.stream("GET", series_url(run), headers={"Accept-Encoding": "gzip"}) as packed:
        assert json.loads(gzip.decompress(b"".join(packed.iter_raw()))) == answer.json()


def test_points_of_a_legacy_history_are_answered(client: TestClient, place: Place) -> None:
    """Ragged, with bare tokens: strict JSON comes out. One that cannot be read has none."""
    run = place.add_run(history=LEGACY)
    assert client.get(series_url(run)).json() == {
        "available": True,
        "complete": False,
        "epochs": [0, 5],
        "series": {
            "loss": {"values": [1.5, None], "kept": 2, "total": 2},
            "val_loss": {"values": [1.6, None], "kept": 2, "total": 2},
        },
        "non_finite": {"loss": {"1": "nan"}},
    }
    place.set_history(run, "no JSON" * 100)
    assert client.get(series_url(run)).json() == {"available": False}


def test_a_histogram_is_of_the_type_and_tower_asked_for(client: TestClient, place: Place) -> None:
    """Four of them; weights of the query tower where nothing is said."""
    run = publish_run(place)
    for kind in ("weights", "gradients"):
        for tower in ("query", "candidate"):
            packed = place.histories.read_histogram(run, kind, tower)
            assert packed is not None
            answer = client.get(histogram_url(run, f"?type={kind}&tower={tower}"))
            assert answer.json() == json.loads(gzip.decompress(packed))
    assert client.get(histogram_url(run)).content == client.get(histogram_url(run, "?type=weights&tower=query")).content
    assert client.get(histogram_url(run, "?type=gradients")).json()["sampled"] is True


@pytest.mark.parametrize("query", ["?type=biases", "?tower=both", "?type=", "?tower=Query", "?type=weights&tower=x"])
def test_any_other_type_or_tower_is_refused(client: TestClient, place: Place, query: str) -> None:
    """422, naming the parameter and what it may be, also for a run that exists."""
    answer = client.get(histogram_url(publish_run(place), query))
    assert answer.status_code == 422
    assert "should be" in answer.json()["detail"]


def test_the_list_is_paged_newest_first(client: TestClient, place: Place) -> None:
    """Following `next` meets every run once, and ends."""
    made = [make_run(place, f"run {number}").id for number in range(5)]
    url, seen, pages = "/api/quick-tests/?limit=2", [], 0
    while url:
        page = client.get(url)
        RunList.model_validate_json(page.content)
        seen += [item["id"] for item in page.json()["items"]]
        url, pages = page.json()["next"], pages + 1
    assert (seen, pages) == (made[::-1], 3)


def test_a_full_last_page_has_no_next(client: TestClient, place: Place) -> None:
    """No one is sent to an empty page."""
    make_run(place)
    assert client.get("/api/quick-tests/?limit=1").json()["next"] is None
    assert client.get("/api/quick-tests/?before=1").json() == {"items": [], "next": None}


def test_the_list_says_what_became_of_each_run(client: TestClient, place: Place) -> None:
    """Status, error, times, and whether there is a history to read."""
    publish_run(place, name="done")
    place.runs.end_run(make_run(place, "bad").id, RunStatus.FAILED, error="no such file", now=NOW)
    bad, done = client.get("/api/quick-tests/").json()["items"]
    assert (bad["status"], bad["error"], bad["available"]) == ("failed", "no such file", False)
    assert (done["display_name"], done["status"], done["available"]) == ("done", "completed", True)
    assert done["completed_at"].startswith("2026-01-02T10:30:00")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=-5", "before=0", "before=x", "before=" + "9" * 30]
)
def test_a_page_that_cannot_be_is_refused(client: TestClient, query: str) -> None:
    """422, naming the parameter."""
    answer = client.get(f"/api/quick-tests/?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/quick-tests/",
        "/api/quick-tests/1/training-history/",
        "/api/quick-tests/1/histogram-data/",
        "/api/quick-tests/1/series/",
        "/health",
    ],
)
def test_both_spellings_and_head_are_served(client: TestClient, place: Place, path: str) -> None:
    """With and without the last slash, no redirect; HEAD has GET's headers."""
    publish_run(place)
    answer = client.get(path)
    other = client.get(path.removesuffix("/") if path.endswith("/") else path + "/", follow_redirects=False)
    assert (answer.status_code, other.status_code) == (200, 200)
    assert answer.content == other.content
    for spelling in (path.rstrip("/"), path.rstrip("/") + "/"):
        head = client.head(spelling)
        assert head.status_code == 200
        assert dict(head.headers) == dict(answer.headers)


def test_a_database_without_a_schema_is_reported(postgres: Postgres) -> None:
    """500: a Postgres database must be set up first, and the text names the command."""
    settings = read_settings({"RESULTS_URL": postgres.url(postgres.make_database())})
    with TestClient(create_app(Outside(settings)), raise_server_exceptions=False) as client:
        for path in (history_url(1), "/api/quick-tests/", "/health"):
            answer = client.get(path)
            assert answer.status_code == 500
            assert "switchyard migrate" in answer.json()["detail"]


def test_a_database_that_went_away_is_asked_again(places: Any, tmp_path: Path, postgres: Postgres) -> None:
    """503 with Retry-After, in JSON and on the pages, while it is away; afterwards the server answers as before."""
    place = places.make("postgres", tmp_path)
    run = place.add_run("one")
    for client in open_client(place):
        assert client.get("/health").json() == {"status": "ok"}
        postgres.stop()
        try:
            for path in (
                "/health",
                history_url(run),
                histogram_url(run),
                series_url(run),
                "/api/quick-tests/",
                f"/quick-tests/{run}",
            ):
                answer = client.get(path)
                assert (path, answer.status_code) == (path, 503)
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.headers["cache-control"] == "no-store"
                if path == "/health":  # it asks for no token, and must not say where the database is
                    assert answer.json()["detail"] == "the results database does not answer; the server's log says why"
        finally:
            postgres.start()
        assert client.get("/health").status_code == 200
        assert client.get(history_url(run)).json() == {"available": False}


def test_a_bug_is_answered_without_its_traceback(client: TestClient, place: Place) -> None:
    """500 as JSON that says nothing of the inside; here a stored histogram is no gzip."""
    run = place.add_run("one")
    assert place.histories.publish(publication(run), now=NOW) is PublishResult.PUBLISHED
    answer = client.get(histogram_url(run))
    assert (answer.status_code, answer.json()["title"]) == (500, "Internal Server Error")
    assert "gzip" not in answer.text
