"""Errors as HTTP answers, in one place: JSON (RFC 9457) to programs, a page to people."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.conditional import NOSNIFF
from serving.document import change_document
from serving.rendering import render
from switchyard.core.errors import BadRequest, NotFound, StaleWrite, SwitchyardError, TryAgain

if TYPE_CHECKING:
    # Loading it takes longer than all that the predictions, which do without it, load beside their model.
    from fastapi import FastAPI

RETRY_AFTER_S: Final = 2
PROBLEM_JSON: Final = "application/problem+json"
"""Source: RFC 9457, section 3."""


_FOR_PROGRAMS: Final = ("/api", "/health", "/events", "/metrics")
FOR_PROGRAMS: Final = "switchyard.for-programs"
"""The key in the scope of requests to an application that only programs ask."""


def is_for_programs(request: Request) -> bool:
    """Returns whether the answer is for programs: no person looks at it."""
    return FOR_PROGRAMS in request.scope or request.url.path.startswith(_FOR_PROGRAMS)


def add_problem_handlers(app: "FastAPI") -> None:
    """Makes every error that a route raises an answer with a clear text; only a bug (500) is also logged."""
    from fastapi.exceptions import RequestValidationError

    app.add_exception_handler(SwitchyardError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_bug)


def document_problems(app: "FastAPI") -> None:
    """Has the OpenAPI document say of each problem what it is sent as; FastAPI says ``application/json`` of all."""

    def change(found: dict[str, Any]) -> None:
        for path in found["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    content = response.get("content", {})
                    if status[0] in "45" and "application/json" in content:
                        content[PROBLEM_JSON] = content.pop("application/json")

    change_document(app, change)


async def _answer_ours(request: Request, err: Exception) -> Response:
    if isinstance(err, NotFound):
        return to_problem(request, HTTPStatus.NOT_FOUND, str(err))
    if isinstance(err, TryAgain):
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return to_problem(request, HTTPStatus.SERVICE_UNAVAILABLE, str(err), headers)
    if isinstance(err, StaleWrite):
        return to_problem(request, HTTPStatus.CONFLICT, str(err))
    if isinstance(err, BadRequest):
        return to_problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, str(err))
    # BadSetup (an old schema: the message names the command), BadRecord: someone must mend something first.
    return to_problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, str(err))


async def _answer_invalid(request: Request, err: Exception) -> Response:
    from fastapi.exceptions import RequestValidationError

    assert isinstance(err, RequestValidationError)
    # What was received is cut: an id may have thousands of digits.
    said = [f"`{problem['loc'][-1]}`: {problem['msg']}; got {str(problem['input'])[:40]!r}" for problem in err.errors()]
    return to_problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(said))


async def _answer_http(request: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException)
    detail = f"nothing is served at {request.url.path}" if err.status_code == 404 else str(err.detail)
    return to_problem(request, HTTPStatus(err.status_code), detail, dict(err.headers or {}))


async def _answer_bug(request: Request, err: Exception) -> Response:
    # The traceback goes to the server's log, never to a client.
    return to_problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "an error inside the server; its log says more")


def to_problem(request: Request, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Returns the answer that says `detail`: JSON to programs, a page to people."""
    sent = {"Cache-Control": "no-store", **NOSNIFF, **(headers or {})}
    if is_for_programs(request):
        body = msgspec.json.encode({"title": status.phrase, "status": int(status), "detail": detail})
        return Response(body, int(status), sent, media_type=PROBLEM_JSON)
    page = render("problem.html", title=status.phrase, status=int(status), detail=detail)
    return Response(page.content, int(status), {**page.headers, **sent}, media_type="text/html")
