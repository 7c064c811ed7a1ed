"""The page where a person signs in with a token, and out again: a form, and a cookie that no script reads.

The cookie is SameSite=Lax, not Strict: a link from a chat opens the run that it names, instead of the form again. What
changes something is asked for its origin besides (`core.access.rules.decide`), as every form here is.
"""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serving.access import COOKIE, REALM, SECURE_COOKIE, TOKEN, Access, show_login, to_words
from switchyard.core.access.rules import Refusal
from switchyard.core.access.tokens import Token

KEPT_S: Final = 90 * 24 * 3600
"""The longest that a browser keeps a token."""
_MAX_BODY_BYTES: Final = 16 * 1024
_HOME: Final = "/quick-tests/"


class Login:
    """The form's routes."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def show(self, request: Request) -> Response:
        """Shows the form; or the name of the browser's token, and the way to take it back."""
        token = request.scope.get(TOKEN)
        name = token.name if isinstance(token, Token) and not token.is_expired(datetime.now(UTC)) else ""
        return show_login(HTTPStatus.OK, following=_HOME, name=name)

    async def take(self, request: Request) -> Response:
        """Keeps a good token in the browser, and goes on to where it was asked for. A second call does the same."""
        form = await _read_form(request)
        following = to_local_path(form.get("next", ""))
        text, now = form.get("token", "").strip(), datetime.now(UTC)
        token = self._access.find_token(text)
        if token is None or token.is_expired(now):
            said = to_words(Refusal.UNKNOWN if token is None else Refusal.EXPIRED, token, has_tokens=True)
            headers = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
            return show_login(HTTPStatus.UNAUTHORIZED, following=following, wrong=said, headers=headers)
        kept_s = KEPT_S
        if token.expires_at is not None:
            kept_s = min(kept_s, int((token.expires_at - now).total_seconds()))
        secure = self._access.is_https(request)
        answer = _go_to(following)
        answer.set_cookie(
            SECURE_COOKIE if secure else COOKIE,
            text,
            max_age=kept_s,
            path="/",
            secure=secure,
            httponly=True,
            samesite="lax",
        )
        return answer

    async def leave(self, request: Request) -> Response:
        """Has the browser forget the token. The token stays good: `switchyard token --revoke` ends it."""
        answer = _go_to("/login")
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
        answer.delete_cookie(SECURE_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return answer


def add_login(app: FastAPI, access: Access) -> None:
    """Adds the form to `app`, at /login, and the way out at /logout."""
    login = Login(access)
    app.add_route("/login", login.show, include_in_schema=False)
    app.add_route("/login", login.take, methods=["POST"], include_in_schema=False)
    app.add_route("/logout", login.leave, methods=["POST"], include_in_schema=False)


def to_local_path(text: str) -> str:
    """Returns `text` if it is a path of this server, else the list of runs: a form must send no one to another site."""
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return text if plain and text.startswith("/") and not text.startswith("//") else _HOME


def _go_to(path: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


async def _read_form(request: Request) -> dict[str, str]:
    """Reads the form's fields, each once. Raises: HTTPException."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a form must be sent as application/x-www-form-urlencoded"
        )
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the form has {_MAX_BODY_BYTES} bytes at most")
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError as err:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "the form cannot be read") from err
    return {name: values[0] for name, values in fields.items()}
