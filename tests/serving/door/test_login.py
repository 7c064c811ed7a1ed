"""How a person shows a token to the browser, and takes it back."""

import re

import pytest

from serving.login import to_local_path
from switchyard.clients.token_file import revoke_token
from tests.serving.door.conftest import Open, Tokens, bearer

OURS = {"Origin": "http://127.0.0.1:8000"}


def test_a_token_is_pasted_once(open_app: Open, tokens: Tokens) -> None:
    """Then every page opens, and the form says whose token it is."""
    client = open_app(api_tokens_file=str(tokens.path))
    answer = client.post("/login", data={"token": f" {tokens.reads}\n", "next": "/quick-tests/?before=3"}, headers=OURS)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/quick-tests/?before=3"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"switchyard_token={tokens.reads}; ")
    for part in ("HttpOnly", "Path=/", "SameSite=lax", "Max-Age=1727"):
        assert part in cookie
    assert "Secure" not in cookie
    assert client.get("/quick-tests/").status_code == 200
    assert client.get("/api/quick-tests/").status_code == 200
    assert "<code>reads</code>" in client.get("/login").text


def test_every_page_says_whose_token_it_was_opened_with(open_app: Open, tokens: Tokens) -> None:
    """With the way out; the next request is another one's, and its page has another tag."""
    client = open_app(api_tokens_file=str(tokens.path))
    pages = [client.get("/quick-tests/", headers=bearer(token)) for token in (tokens.reads, tokens.writes)]
    for name, page in zip(("reads", "writes"), pages, strict=True):
        assert re.findall(r'<a class="caller[^>]*href="/login"[^>]*>([^<]+)</a>', page.text) == [name]
    assert pages[0].headers["etag"] != pages[1].headers["etag"]
    assert 'class="caller' not in client.get("/quick-tests/").text
    assert 'class="caller' not in open_app().get("/quick-tests/").text


@pytest.mark.parametrize(
    ("base_url", "headers", "settings"),
    [
        ("https://runs.example", {}, {}),
        ("http://runs.example", {"X-Forwarded-Proto": "https"}, {}),
        ("http://runs.example", {}, {"serving_url": "https://runs.example"}),
    ],
)
def test_over_https_the_cookie_is_for_https_alone(
    open_app: Open, tokens: Tokens, base_url: str, headers: dict[str, str], settings: dict[str, str]
) -> None:
    """Also where something in front ends TLS."""
    client = open_app(base_url, api_tokens_file=str(tokens.path), **settings)
    answer = client.post("/login", data={"token": tokens.reads}, headers={"Origin": "https://runs.example", **headers})
    assert answer.headers["set-cookie"].startswith("__Host-switchyard_token=")
    assert "; Secure" in answer.headers["set-cookie"]
    assert client.get("/quick-tests/", headers={"Cookie": f"__Host-switchyard_token={tokens.reads}"}).status_code == 200


@pytest.mark.parametrize("which", ["wrong", "late", "empty"])
def test_a_bad_token_is_not_kept(open_app: Open, tokens: Tokens, which: str) -> None:
    """The form again, with why; what was typed is not shown."""
    text = {"wrong": "swy_wrong", "late": tokens.late, "empty": ""}[which]
    answer = open_app(api_tokens_file=str(tokens.path)).post("/login", data={"token": text}, headers=OURS)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text
    assert not text or text not in answer.text


def test_the_form_is_sent_to_this_server_alone(open_app: Open, tokens: Tokens) -> None:
    """And a page that has no form may send none."""
    client = open_app(api_tokens_file=str(tokens.path))
    assert "form-action 'self'" in client.get("/quick-tests/").headers["content-security-policy"]
    client.post("/login", data={"token": tokens.reads}, headers=OURS)
    assert "form-action 'none'" in client.get("/no-such-page").headers["content-security-policy"]


def test_logging_out_forgets_the_token(open_app: Open, tokens: Tokens) -> None:
    """The page asks for one again; the token itself stays good."""
    client = open_app(api_tokens_file=str(tokens.path))
    client.post("/login", data={"token": tokens.reads}, headers=OURS)
    answer = client.post("/logout", headers=OURS)
    assert answer.status_code == 303
    assert answer.headers.get_list("set-cookie")[0].startswith('switchyard_token=""')
    assert client.get("/quick-tests/").status_code == 401
    assert client.post("/login", data={"token": tokens.reads}, headers=OURS).status_code == 303


def test_a_cookie_of_a_revoked_token_opens_nothing(open_app: Open, tokens: Tokens) -> None:
    """Nor does the form call it by its name."""
    client = open_app(api_tokens_file=str(tokens.path))
    client.post("/login", data={"token": tokens.reads}, headers=OURS)
    revoke_token(tokens.path, "reads")
    assert client.get("/quick-tests/").status_code == 401
    assert "<code>reads</code>" not in client.get("/login").text


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_no_other_site_logs_anyone_in_or_out(
    open_app: Open, tokens: Tokens, path: str, headers: dict[str, str]
) -> None:
    """A form on another page could; it is refused."""
    client = open_app(api_tokens_file=str(tokens.path))
    answer = client.post(path, data={"token": tokens.reads}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"token=" + b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"a=1" for _ in range(9)), "application/x-www-form-urlencoded", 422),
        (b"token=\xff", "application/x-www-form-urlencoded", 422),
        (b"", "application/x-www-form-urlencoded", 401),
    ],
)
def test_what_is_no_form_is_refused(
    open_app: Open, tokens: Tokens, content: bytes, media_type: str, status: int
) -> None:
    """With a clear answer, never 500."""
    client = open_app(api_tokens_file=str(tokens.path))
    answer = client.post("/login", content=content, headers={"Content-Type": media_type, **OURS})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/quick-tests/3?x=1", "/quick-tests/3?x=1"),
        ("", "/quick-tests/"),
        ("//evil.example", "/quick-tests/"),
        ("/\\evil.example", "/quick-tests/"),
        ("https://evil.example", "/quick-tests/"),
        ("/\r\nX: y", "/quick-tests/"),
        ("javascript:alert(1)", "/quick-tests/"),
    ],
)
def test_the_form_sends_nobody_elsewhere(text: str, expected: str) -> None:
    """Only to a path of this server."""
    assert to_local_path(text) == expected
