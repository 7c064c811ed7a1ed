"""PATCH of one run: its name, its notes, and whether it is archived. Who may do so is the door's to say."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from anyio.to_thread import run_sync
from fastapi import FastAPI, Path
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.conditional import NOSNIFF
from serving.listing import MAX_ID
from serving.parameters import refuse_others
from serving.schemas import EditedRun, Problem
from switchyard.clients.connect import Outside
from switchyard.core.errors import BadRequest
from switchyard.core.runs.edits import MAX_NAME, MAX_NOTES, read_edit
from switchyard.core.runs.rows import QuickTest

PATH: Final = "/api/quick-tests/{quick_test_id}/"
MAX_BODY_BYTES: Final = 128 * 1024
"""All notes fit in, also with every character escaped."""

_BODY: Final = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {
        "display_name": {"type": "string", "maxLength": MAX_NAME, "description": "empty: it is called by its id"},
        "notes": {"type": "string", "maxLength": MAX_NOTES, "description": "plain text, in lines"},
        "archived": {"type": "boolean"},
    },
    "example": {"notes": "the learning rate was too high", "archived": True},
}


class Editing:
    """The endpoint over one wiring."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    async def edit(
        self,
        request: Request,
        quick_test_id: Annotated[int, Path(ge=1, le=MAX_ID, description="the run's id", examples=[12])],
    ) -> Response:
        """Changes what the body names; what it leaves out stays. The same once more changes nothing."""
        refuse_others(request, ())
        # No form of another site can send this type without the browser asking first.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be sent as application/json")
        edit = read_edit(await _read_body(request))
        try:
            run = await run_sync(lambda: self.outside.runs.edit_run(quick_test_id, edit, now=datetime.now(UTC)))
        except BadRequest as err:
            # The request is as it must be; the table is not ours to change.
            raise HTTPException(HTTPStatus.CONFLICT, str(err)) from err
        content = msgspec.json.encode(to_answer(run))
        return Response(content, headers={"Cache-Control": "no-store", **NOSNIFF}, media_type="application/json")


def to_answer(run: QuickTest) -> dict[str, Any]:
    """Returns what can be edited of a run, as it is now."""
    return {
        "id": run.id,
        "display_name": run.display_name,
        "notes": run.notes,
        "archived": run.archived_at is not None,
        "archived_at": run.archived_at,
    }


def add_editing(app: FastAPI, outside: Outside) -> None:
    """Adds the route, with and without its last slash."""
    edit = Editing(outside).edit
    app.add_api_route(
        PATH,
        edit,
        methods=["PATCH"],
        tags=["results"],
        responses={
            200: {"model": EditedRun},
            403: {"model": Problem, "description": "The token may not write, or another site's page sent this"},
            404: {"model": Problem, "description": "No run has this id"},
            409: {"model": Problem, "description": "The runs' table is an application's own (RESULTS_TABLE)"},
            413: {"model": Problem, "description": f"More than {MAX_BODY_BYTES} bytes"},
            415: {"model": Problem, "description": "The body is not sent as application/json"},
            422: {"model": Problem, "description": "The body, or the id, is wrong"},
            503: {"model": Problem, "description": "The database does not answer; ask again after Retry-After seconds"},
        },
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
    )
    app.add_api_route(PATH.rstrip("/"), edit, methods=["PATCH"], include_in_schema=False)


async def _read_body(request: Request) -> bytes:
    """Reads the body of an edit.

    Raises: HTTPException: 413: it is too large; 400: the sender went away.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has {MAX_BODY_BYTES} bytes at most")
    except ClientDisconnect as err:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body ended early") from err
    return bytes(body)
