"""A service on Cloud Run that only invokers may call: it checks the ID token before the container sees the request.

Source: https://cloud.google.com/run/docs/authenticating/service-to-service
"""

import contextlib
from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.emulators.faults import Faults
from tests.emulators.server import serve_in_thread
from tests.emulators.tokens import Issuer


class CloudRun:
    """The running service. A fault of kind ``call`` with status 401 refuses a token that is valid."""

    def __init__(self, issuer: Issuer) -> None:
        self.faults = Faults()
        self.url = ""
        self.tokens: list[str] = []  # of each call, "" without one; also of those refused
        self.redirect_to = ""
        self._issuer = issuer

    async def answer(self, request: Request) -> Response:
        """Who called and what with; 401 without a valid token for this service."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens.append(token)
        fault = self.faults.take("call", request.url.path)
        try:
            if fault.status:
                return PlainTextResponse("injected", fault.status)
            claims = self._issuer.key.read(token, audience=self.url)
        except ValueError as err:
            answer = "The access token could not be verified" if token else "Unauthorized"
            return PlainTextResponse(answer, 401, {"WWW-Authenticate": f'Bearer error="invalid_token" {err}'[:120]})
        if self.redirect_to:
            return RedirectResponse(self.redirect_to)
        return JSONResponse({"caller": claims.get("email"), "body": (await request.body()).decode()})


@contextlib.contextmanager
def start_cloud_run(issuer: Issuer) -> Iterator[CloudRun]:
    """A service that trusts `issuer`'s tokens; the audience is its own address."""
    service = CloudRun(issuer)
    app = Starlette(routes=[Route("/{path:path}", service.answer, methods=["GET", "POST"])])
    with serve_in_thread(app) as url:
        service.url = url
        yield service
