"""The door: what needs a token, and what is said to who has none."""

import re

import pytest

from switchyard.clients.token_file import revoke_token
from switchyard.core.errors import BadSetup
from tests.clients.results.places import Place
from tests.serving.door.conftest import Open, Tokens, bearer
from tests.serving.factories import publish_run

READS = (
    "/api/quick-tests/",
    "/api/quick-tests",
    "/api/quick-tests/1/training-history/",
    "/api/quick-tests/1/training-history",
    "/api/quick-tests/1/histogram-data/",
    "/api/quick-tests/1/series/",
    "/api/openapi.json",
    "/metrics",
    "/metrics/",
)
PAGES = ("/", "/quick-tests", "/quick-tests/1", "/quick-tests/1/loss-curves.png", "/no-such-page")


@pytest.mark.parametrize("path", READS)
def test_every_answer_needs_a_token(open_app: Open, place: Place, tokens: Tokens, path: str) -> None:
    """401 with how to ask again, as JSON; with a token that reads, what it was."""
    publish_run(place)
    client = open_app(api_tokens_file=str(tokens.path))
    for method in ("GET", "HEAD"):
        refused = client.request(method, path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == 'Bearer realm="switchyard"'
    refused = client.get(path)
    assert refused.headers["content-type"] == "application/problem+json"
    assert "switchyard token" in refused.json()["detail"]
    assert client.get(path, headers=bearer(tokens.reads)).status_code == 200
    assert client.get(path, headers=bearer(tokens.writes)).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_person_without_a_token_gets_the_form(open_app: Open, place: Place, tokens: Tokens, path: str) -> None:
    """In the page's place, under its address; nothing of the page is in it."""
    publish_run(place, name="secret name")
    client = open_app(api_tokens_file=str(tokens.path))
    refused = client.get(f"{path}?before=9")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="switchyard"'
    assert refused.headers["cache-control"] == "no-store"
    assert f'name="next" value="{path}?before=9"' in refused.text
    assert "secret name" not in refused.text


def test_health_and_assets_stay_open(open_app: Open, tokens: Tokens) -> None:
    """A load balancer has no token, and the form needs its style."""
    client = open_app(api_tokens_file=str(tokens.path))
    for path in ("/health", "/health/"):
        assert client.get(path).json() == {"status": "ok"}
    style = re.search(r'href="(/static/[^"]+login.css)"', client.get("/quick-tests/").text)
    assert style
    assert client.get(style[1]).status_code == 200


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "Bearer  {}"])
def test_the_scheme_is_read_as_the_rfc_says(open_app: Open, tokens: Tokens, form: str) -> None:
    """Its case is all one."""
    client = open_app(api_tokens_file=str(tokens.path))
    assert client.get("/api/quick-tests/", headers={"Authorization": form.format(tokens.reads)}).status_code == 200


@pytest.mark.parametrize("form", ["Basic {}", "{}", "Bearer", "Bearer swy_", "Bearer {}x", "Token {}"])
def test_anything_else_is_no_token(open_app: Open, tokens: Tokens, form: str) -> None:
    """401, whatever it is."""
    client = open_app(api_tokens_file=str(tokens.path))
    answer = client.get("/api/quick-tests/", headers={"Authorization": form.format(tokens.reads)})
    assert answer.status_code == 401


def test_a_token_in_an_address_counts_for_nothing(open_app: Open, tokens: Tokens) -> None:
    """Addresses are logged, kept and shared."""
    client = open_app(api_tokens_file=str(tokens.path))
    for name in ("token", "access_token", "api_key"):
        assert client.get(f"/api/quick-tests/?{name}={tokens.reads}").status_code == 401


def test_a_token_that_is_revoked_or_late_says_so(open_app: Open, tokens: Tokens) -> None:
    """From the next request on; each with its own words."""
    client = open_app(api_tokens_file=str(tokens.path))
    assert client.get("/api/quick-tests/", headers=bearer(tokens.reads)).status_code == 200
    revoke_token(tokens.path, "reads")
    for token, said in ((tokens.reads, "it was revoked"), (tokens.late, "The token late expired on ")):
        answer = client.get("/api/quick-tests/", headers=bearer(token))
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert said in answer.json()["detail"]
        assert token not in answer.text


def test_a_strange_token_leaves_room_for_the_cookie(open_app: Open, tokens: Tokens) -> None:
    """Cloud Run's proxy puts Google's into the header; ours that is wrong is not forgiven."""
    client = open_app(api_tokens_file=str(tokens.path))
    client.cookies.set("switchyard_token", tokens.reads)
    assert client.get("/api/quick-tests/", headers=bearer("ya29.google")).status_code == 200
    assert client.get("/api/quick-tests/", headers=bearer("swy_wrong")).status_code == 401


def test_no_refusal_changes_what_is_there(open_app: Open, place: Place, tokens: Tokens) -> None:
    """A method that changes something is refused before any route is asked."""
    run = publish_run(place)
    client = open_app(api_tokens_file=str(tokens.path))
    for method in ("PATCH", "POST", "PUT", "DELETE"):
        assert client.request(method, f"/api/quick-tests/{run}/", json={}).status_code == 401
        refused = client.request(method, f"/api/quick-tests/{run}/", json={}, headers=bearer(tokens.reads))
        assert refused.status_code == 403
        assert 'scope="write"' in refused.headers["www-authenticate"]
        assert "--scope write" in refused.json()["detail"]


def test_without_tokens_everyone_on_this_machine_reads(open_app: Open) -> None:
    """As before; there is no form to fill in."""
    client = open_app()
    assert client.get("/api/quick-tests/").status_code == 200
    assert client.get("/login").status_code == 404


def test_behind_something_all_read(open_app: Open) -> None:
    """What stands in front has let them in; its own token in the header is not ours to judge."""
    client = open_app(serving_behind="iam", base_url="https://runs.example")
    assert client.get("/api/quick-tests/", headers=bearer("ya29.google")).status_code == 200


def test_tokens_count_behind_something_too(open_app: Open, tokens: Tokens) -> None:
    """An image that says SERVING_BEHIND=iam does not open what a file of tokens closes."""
    client = open_app(serving_behind="iam", api_tokens_file=str(tokens.path))
    assert client.get("/api/quick-tests/").status_code == 401


def test_a_file_without_a_valid_token_ends_the_start(open_app: Open, tokens: Tokens) -> None:
    """No one could come in."""
    for name in ("reads", "writes"):
        revoke_token(tokens.path, name)
    with pytest.raises(BadSetup, match="no token that is valid now"):
        open_app(api_tokens_file=str(tokens.path))
