"""PATCH of a run: what it changes, who may, and what is said to others."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from switchyard.core.errors import TryAgain
from tests.clients.results.places import KINDS, Place
from tests.serving.conftest import OverPlace
from tests.serving.door.conftest import Open, Tokens, bearer
from tests.serving.factories import make_run, publish_run

HERE = "http://127.0.0.1:8000"


def path_of(run: int) -> str:
    return f"/api/quick-tests/{run}/"


def test_a_run_is_renamed_noted_and_archived(client: TestClient, place: Place) -> None:
    """The answer is what is stored; the same once more is the same; what is published stays."""
    run = publish_run(place)
    before = client.get(f"/api/quick-tests/{run}/training-history/").content
    body = {"display_name": "the best", "notes": "two\nlines", "archived": True}
    answer = client.patch(path_of(run), json=body)
    assert answer.status_code == 200
    edited = answer.json()
    assert edited == {"id": run, **body, "archived_at": edited["archived_at"]}
    assert client.patch(path_of(run).rstrip("/"), json=body).json() == edited
    stored = place.runs.read_run(run)
    assert (stored.display_name, stored.notes) == ("the best", "two\nlines")
    assert client.patch(path_of(run), json={"archived": False}).json()["archived_at"] is None
    assert client.get(f"/api/quick-tests/{run}/training-history/").content == before


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b'{"notes": "n"}', "text/plain", 415),
        (b'{"notes": "n"}', "application/x-www-form-urlencoded", 415),
        (b'{"notes": "n"}', "", 415),
        (b'{"notes": "n"}', "application/json; charset=utf-8", 200),
        (b"{", "application/json", 422),
        (b"{}", "application/json", 422),
        (b'{"status": "completed"}', "application/json", 422),
        (b'{"notes": "' + b"x" * 10_001 + b'"}', "application/json", 422),
        (b'{"notes": "' + b"x" * 200_000 + b'"}', "application/json", 413),
    ],
)
def test_what_is_no_edit_is_refused(
    client: TestClient, place: Place, content: bytes, media_type: str, status: int
) -> None:
    """With a problem that says why, and nothing written."""
    run = make_run(place).id
    headers = {"Content-Type": media_type} if media_type else {}
    answer = client.patch(path_of(run), content=content, headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert place.runs.read_run(run).notes == ""


def test_a_parameter_in_the_address_is_refused_by_name(client: TestClient, place: Place) -> None:
    """What is to change stands in the body; a misplaced one must not seem to work."""
    run = make_run(place).id
    answer = client.patch(f"{path_of(run)}?archived=true", json={"notes": "n"})
    assert answer.status_code == 422
    assert "`archived` is not a parameter" in answer.json()["detail"]
    assert place.runs.read_run(run).notes == ""


@pytest.mark.parametrize(("quick_test_id", "status"), [("99", 404), ("0", 422), ("x", 422), (str(2**63), 422)])
def test_a_run_that_is_not_there_is_not_found(client: TestClient, quick_test_id: str, status: int) -> None:
    """An id that none can have is refused as such."""
    assert client.patch(f"/api/quick-tests/{quick_test_id}/", json={"notes": "n"}).status_code == status


def test_an_application_s_runs_are_a_conflict(any_client: TestClient, any_place: Place) -> None:
    """409 with who may edit them; on our own tables it is done."""
    answer = any_client.patch(path_of(any_place.add_run()), json={"notes": "n"})
    assert answer.status_code == (409 if any_place.table else 200)
    assert not any_place.table or "RESULTS_TABLE" in answer.json()["detail"]
    assert len(KINDS) > 2


def test_a_database_that_is_away_is_503(place: Place, monkeypatch: pytest.MonkeyPatch, client: TestClient) -> None:
    """With when to ask again."""

    def fail(*_: Any, **__: Any) -> None:
        raise TryAgain("away")

    monkeypatch.setattr(type(OverPlace(place).runs), "edit_run", fail)
    answer = client.patch(path_of(make_run(place).id), json={"notes": "n"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


@pytest.mark.parametrize(
    ("base_url", "headers", "status"),
    [
        (HERE, {}, 200),
        ("http://localhost:8000", {"Origin": "http://localhost:8000"}, 200),
        (HERE, {"Sec-Fetch-Site": "same-origin", "Origin": HERE}, 200),
        (HERE, {"Origin": "https://evil.example"}, 403),
        (HERE, {"Origin": "http://127.0.0.1:3000"}, 403),
        (HERE, {"Sec-Fetch-Site": "cross-site", "Origin": HERE}, 403),
        (HERE, {"Origin": "https://app.example.com", "Authorization": "Bearer x"}, 403),
        # A name of another site that leads here: its page would be of one origin with us.
        ("http://evil.example:8000", {"Origin": "http://evil.example:8000"}, 403),
    ],
)
def test_without_tokens_this_machine_s_own_page_edits(
    open_app: Open, place: Place, base_url: str, headers: dict[str, str], status: int
) -> None:
    """And its programs. No site that someone happens to look at, named in CORS_ORIGINS or not, and no false name."""
    run = make_run(place).id
    client = open_app(base_url, cors_origins="https://app.example.com")
    assert client.patch(path_of(run), json={"notes": "n"}, headers=headers).status_code == status
    assert place.runs.read_run(run).notes == ("n" if status == 200 else "")


@pytest.mark.parametrize("behind", ["", "iam"])
def test_a_server_without_tokens_tells_another_site_to_make_one(open_app: Open, place: Place, behind: str) -> None:
    """Also where a token is sent: this server knows none, so that sending it once more changes nothing."""
    client = open_app(HERE, cors_origins="https://app.example.com", serving_behind=behind)
    headers = {"Origin": "https://app.example.com", "Authorization": "Bearer swy_x"}
    answer = client.patch(path_of(make_run(place).id), json={"notes": "n"}, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("This server has no tokens, so pages of other sites may not send this.")
    assert "switchyard token --name <name> --scope write" in answer.json()["detail"]


def test_behind_something_a_token_is_needed(open_app: Open, place: Place) -> None:
    """What stands in front does not say who may edit."""
    answer = open_app(serving_behind="iam").patch(path_of(make_run(place).id), json={"notes": "n"})
    assert answer.status_code == 403
    assert "API_TOKENS_FILE" in answer.json()["detail"]


def test_a_token_that_may_write_edits_from_anywhere(open_app: Open, place: Place, tokens: Tokens) -> None:
    """Also from another site's page, which sends it in a header; one that reads may not."""
    run = make_run(place).id
    client = open_app("https://runs.example", api_tokens_file=str(tokens.path), cors_origins="https://app.example.com")
    for headers, status in (
        ({}, 401),
        (bearer(tokens.reads), 403),
        (bearer(tokens.late), 401),
        (bearer(tokens.writes), 200),
        ({**bearer(tokens.writes), "Origin": "https://app.example.com"}, 200),
    ):
        assert client.patch(path_of(run), json={"notes": "n"}, headers=headers).status_code == status


def test_a_cookie_edits_for_our_own_page_alone(open_app: Open, place: Place, tokens: Tokens) -> None:
    """Browsers send it along for any site's page."""
    run = make_run(place).id
    client = open_app(api_tokens_file=str(tokens.path))
    client.cookies.set("switchyard_token", tokens.writes)
    for headers, status in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, 200),
    ):
        assert client.patch(path_of(run), json={"notes": "n"}, headers=headers).status_code == status
