"""The door: who may come in, asked before any route is. Programs send a token in a header, people's browsers a cookie.

What is decided stands in `switchyard.core.access.rules`. Any application of ours can use it: `Door` takes a table of
what its routes need.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.problems import is_for_programs, to_problem
from serving.rendering import CALLER, render, with_forms
from switchyard.clients.settings import Settings
from switchyard.clients.token_file import TokenFile
from switchyard.core.access.rules import (
    SAFE_METHODS,
    Caller,
    Guard,
    Need,
    Refusal,
    choose_guard,
    decide,
    is_cross_origin,
    is_this_machine,
    may_listen,
    to_host_name,
)
from switchyard.core.access.tokens import PREFIX, Token, find_token
from switchyard.core.errors import BadSetup

COOKIE: Final = "switchyard_token"
SECURE_COOKIE: Final = "__Host-switchyard_token"
"""Over https: browsers take it from this very host alone, and send it over https alone."""
TOKEN: Final = "switchyard.token"  # noqa: S105  (a key, not a token)
"""The key in a request's scope of the token that it came with, or None."""
REALM: Final = 'Bearer realm="switchyard"'

_OPEN: Final = frozenset({"/health", "/login"})
_FORMS: Final = frozenset({"/login", "/logout"})
_OWN: Final = frozenset({"/events/training-job"})

Needs = Callable[[str, str], Need]
"""What a request of a method to a path needs."""


def to_need(method: str, path: str) -> Need:
    """Returns what the results' routes need. A route not named here needs a token, so that none is forgotten."""
    path = path.rstrip("/") or "/"
    if path in _OWN:
        return Need.OWN
    if method in SAFE_METHODS:
        return Need.NOTHING if path in _OPEN or path.startswith("/static/") else Need.READ
    return Need.FORM if path in _FORMS else Need.WRITE


class Access:
    """What the settings say of who may come in; the tokens' file is open from here on.

    Raises: BadSetup: API_TOKENS_FILE is missing, damaged, or holds no token that is valid now.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tokens = TokenFile(Path(settings.api_tokens_file)) if settings.api_tokens_file else None
        self.guard = choose_guard(has_tokens=self.tokens is not None, behind=settings.serving_behind)
        now = datetime.now(UTC)
        if self.tokens is not None and all(token.is_expired(now) for token in self.tokens.tokens):
            raise BadSetup(
                f"{self.tokens.path} (API_TOKENS_FILE) holds no token that is valid now, so no one could come in. Make "
                "one: switchyard token --name <name>"
            )

    def find_token(self, text: str) -> Token | None:
        """Returns the token of that text, expired or not; None if there is none."""
        return find_token(self.tokens.tokens, text) if self.tokens is not None and text else None

    def is_https(self, request: Request) -> bool:
        """Returns whether the browser speaks https, to us or to what ends TLS in front of us."""
        if "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "")):
            return True
        public = self.settings.serving_url
        return public.startswith("https://") and public.split("/")[2].lower() == request.headers.get("host", "").lower()


def check_may_listen(host: str, settings: Settings, *, only_events: bool) -> None:
    """Refuses an address at which others could reach a server that lets everyone in.

    Raises: BadSetup: it is one.
    """
    guard = choose_guard(has_tokens=bool(settings.api_tokens_file), behind=settings.serving_behind)
    if not may_listen(host, guard, checks_senders=only_events):
        raise BadSetup(
            f"--host {host} can be reached from other machines, and nothing says who may read the results. Make a "
            "token and name its file: switchyard token --name <name>, then API_TOKENS_FILE=<the file that it names>. "
            "Where something in front checks who calls (Cloud Run's invokers, a proxy), set SERVING_BEHIND=iam. To "
            "serve this machine alone, leave --host out"
        )


class Door:
    """The application behind the door (ASGI)."""

    def __init__(self, app: ASGIApp, *, access: Access, needs: Needs = to_need) -> None:
        self._app = app
        self._access = access
        self._needs = needs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or says why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        need = self._needs(scope["method"], scope["path"])
        caller = self._read_caller(scope, need)
        refusal = decide(self._access.guard, need, caller, now=datetime.now(UTC))
        if refusal is None:
            scope[TOKEN] = caller.token
            shown = CALLER.set(caller.token.name if caller.token else "")
            try:
                await self._app(scope, receive, send)
            finally:
                CALLER.reset(shown)
        else:
            await refuse(Request(scope, receive), refusal, caller, self._access.guard)(scope, receive, send)

    def _read_caller(self, scope: Scope, need: Need) -> Caller:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        text, by_header = _read_bearer(headers.get(b"authorization", "")), True
        if not text.startswith(PREFIX):
            # Someone else's token (Google's, which Cloud Run passes on) leaves room for the cookie.
            cookie = read_cookie(headers.get(b"cookie", ""))
            text, by_header = (cookie, False) if cookie else (text, True)
        caller = Caller(token=self._access.find_token(text), presents=bool(text), by_header=by_header and bool(text))
        if need not in (Need.WRITE, Need.TELL, Need.FORM, Need.ASK):
            return caller  # the rest makes no difference to what only reads
        host = headers.get(b"host", "")
        return msgspec.structs.replace(
            caller,
            cross_origin=is_cross_origin(
                fetch_site=headers.get(b"sec-fetch-site", ""), origin=headers.get(b"origin", ""), host=host
            ),
            on_this_machine=is_this_machine((scope.get("client") or ("", 0))[0])
            and is_this_machine(to_host_name(host)),
        )


_READ: Final = frozenset({b"authorization", b"cookie", b"host", b"origin", b"sec-fetch-site"})


def read_cookie(header: str) -> str:
    """Returns the token that a browser keeps; empty if it keeps none."""
    found = cookie_parser(header) if header else {}
    return found.get(SECURE_COOKIE) or found.get(COOKIE) or ""


def _read_bearer(header: str) -> str:
    scheme, _, text = header.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def refuse(request: Request, refusal: Refusal, caller: Caller, guard: Guard) -> Response:
    """Returns the answer to a caller who is not let in.

    A person who asks for a page gets the form for a token in its place, under the same address, so that the page is
    there once the token is.
    """
    said = to_words(refusal, caller.token, has_tokens=guard is Guard.TOKENS)
    if refusal in (Refusal.CROSS_ORIGIN, Refusal.NO_TOKENS, Refusal.NAME):
        return to_problem(request, HTTPStatus.FORBIDDEN, said)
    if refusal is Refusal.SCOPE:
        headers = {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="write"'}
        return to_problem(request, HTTPStatus.FORBIDDEN, said, headers)
    headers = {"WWW-Authenticate": REALM if refusal is Refusal.MISSING else f'{REALM}, error="invalid_token"'}
    if is_for_programs(request) or request.method not in SAFE_METHODS:
        return to_problem(request, HTTPStatus.UNAUTHORIZED, said, headers)
    query = f"?{request.url.query}" if request.url.query else ""
    wrong = "" if refusal is Refusal.MISSING else said
    return show_login(HTTPStatus.UNAUTHORIZED, following=request.url.path + query, wrong=wrong, headers=headers)


def show_login(
    status: HTTPStatus, *, following: str, wrong: str = "", name: str = "", headers: dict[str, str] | None = None
) -> Response:
    """Shows the page where a person pastes a token; `name` is that of the token that the browser has, if it has one."""
    page = with_forms(render("login.html", following=following, wrong=wrong, name=name, caller=""))
    sent = {**page.headers, "Cache-Control": "no-store", **(headers or {})}
    return Response(page.content, int(status), sent, media_type="text/html")


def to_words(refusal: Refusal, token: Token | None, *, has_tokens: bool) -> str:
    """Says why a request is refused, and what to do."""
    name = token.name if token else ""
    if refusal is Refusal.EXPIRED and token is not None and token.expires_at is not None:
        return f"The token {name} expired on {token.expires_at:%Y-%m-%d}. Make another: switchyard token --name <name>"
    if refusal is Refusal.CROSS_ORIGIN and not has_tokens:
        return (
            "This server has no tokens, so pages of other sites may not send this. Make a token, start the server with "
            "API_TOKENS_FILE, and send it in a header: switchyard token --name <name> --scope write"
        )
    return {
        Refusal.MISSING: (
            "This server wants a token. Send it in a header: Authorization: Bearer <token>. Make one: switchyard token "
            "--name <name>"
        ),
        Refusal.UNKNOWN: (
            "This token is not known here: it was revoked, or it is not whole. Make another: switchyard token --name "
            "<name>"
        ),
        Refusal.EXPIRED: "This token has expired. Make another: switchyard token --name <name>",
        Refusal.SCOPE: (
            f"The token {name} may only read. Make one that may write: switchyard token --name <name> --scope write"
        ),
        Refusal.CROSS_ORIGIN: (
            "Another site's page sent this. Send it from a page of this server, or with a token in a header: "
            "Authorization: Bearer <token>"
        ),
        Refusal.NO_TOKENS: (
            "Editing needs a token with the scope write, and this server has no tokens. Make one and name its file in "
            "API_TOKENS_FILE: switchyard token --name <name> --scope write. Without tokens only this machine may edit, "
            "at http://127.0.0.1"
        ),
        Refusal.NAME: (
            "This server answers this machine alone, and the request calls it by another name. Call it "
            "http://127.0.0.1 or http://localhost. Where something in front passes requests on, and checks who calls, "
            "set SERVING_BEHIND=iam. For other machines make a token and name its file in API_TOKENS_FILE: switchyard "
            "token --name <name>"
        ),
    }[refusal]
