"""CORS_ORIGINS: which other sites' pages may call."""

import pytest

from tests.clients.results.places import Place
from tests.serving.door.conftest import Open, Tokens, bearer
from tests.serving.factories import publish_run

APP = "https://app.example.com"


def ask_first(method: str, headers: str = "authorization") -> dict[str, str]:
    """What a browser asks before it sends."""
    return {"Origin": APP, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH"])
def test_a_site_that_is_named_may_send_a_token(open_app: Open, tokens: Tokens, method: str) -> None:
    """The browser's question has no token, and is answered without one."""
    client = open_app(api_tokens_file=str(tokens.path), cors_origins=f"http://localhost:3000, {APP}")
    answer = client.options(
        "/api/quick-tests/", headers=ask_first(method, "authorization, content-type, if-none-match")
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert method in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


def test_its_page_reads_the_answer_and_its_tag(open_app: Open, place: Place, tokens: Tokens) -> None:
    """And asks again with it; a refusal can be read too."""
    run = publish_run(place)
    client = open_app(api_tokens_file=str(tokens.path), cors_origins=APP)
    path, headers = f"/api/quick-tests/{run}/training-history/", {"Origin": APP, **bearer(tokens.reads)}
    answer = client.get(path, headers=headers)
    assert answer.headers["access-control-allow-origin"] == APP
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]
    again = client.get(path, headers={**headers, "If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.headers["access-control-allow-origin"]) == (304, APP)
    refused = client.get(path, headers={"Origin": APP})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, APP)


@pytest.mark.parametrize("origin", ["https://evil.example", f"{APP}.evil.example", "null", f"{APP}:8443"])
def test_no_other_site_is_let_in(open_app: Open, tokens: Tokens, origin: str) -> None:
    """Its page cannot read the answer, and its question is answered with no."""
    client = open_app(api_tokens_file=str(tokens.path), cors_origins=APP)
    answer = client.get("/api/quick-tests/", headers={"Origin": origin, **bearer(tokens.reads)})
    assert "access-control-allow-origin" not in answer.headers
    assert client.options("/api/quick-tests/", headers={**ask_first("GET"), "Origin": origin}).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_other_methods_are_not_for_other_sites(open_app: Open, method: str) -> None:
    """There is nothing that they could do."""
    assert open_app(cors_origins=APP).options("/api/quick-tests/", headers=ask_first(method)).status_code == 400


def test_every_site_is_allowed_without_cookies(open_app: Open) -> None:
    """`*` never comes with a person's own cookie."""
    answer = open_app(cors_origins="*").get("/api/quick-tests/", headers={"Origin": APP, "Cookie": "a=b"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_without_the_setting_no_site_is_allowed(open_app: Open) -> None:
    """As before."""
    client = open_app()
    assert "access-control-allow-origin" not in client.get("/api/quick-tests/", headers={"Origin": APP}).headers
    assert "access-control-allow-origin" not in client.options("/api/quick-tests/", headers=ask_first("GET")).headers
