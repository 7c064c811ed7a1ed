"""Vertex AI's REST front over `VertexCore`, with a door for tests under ``/_emulator``.

Source: the http rules of google/cloud/aiplatform/v1/job_service.proto; JSON per the proto3 JSON mapping, unknown fields
and query parameters refused as Google's front end does; errors per https://google.aip.dev/193.
"""

import json
from typing import Any

import msgspec
from google.protobuf import json_format
from google.rpc import code_pb2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.emulators import vertex_core as core_module
from tests.emulators.faults import Fault
from tests.emulators.vertex_core import CANCEL, CREATE, DELETE, GET, LIST, ConnectionDropped, VertexCore
from tests.emulators.vertex_errors import HTTP_STATUS, ServiceError

_PARENT = "/v1/projects/{project}/locations/{location}/customJobs"
# System parameters: https://cloud.google.com/apis/docs/system-parameters
_SYSTEM = {"$alt", "alt", "$prettyPrint", "prettyPrint", "key", "fields", "$fields", "quotaUser"}
_LIST_PARAMETERS = {
    "filter": "filter",
    "pageSize": "page_size",
    "pageToken": "page_token",
    "readMask": "read_mask",
}


class DroppedResponse(Response):
    """Promises a body and sends none: the server then closes the connection, as when a reply is lost half-way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4096")]})


def build_rest_app(core: VertexCore) -> Starlette:
    """The ASGI application; one `core` behind it."""

    async def on_collection(request: Request) -> Response:
        if request.method == "POST":
            return await answer(request, CREATE)
        return await answer(request, LIST)

    async def on_job(request: Request) -> Response:
        job_id, _, verb = request.path_params["job"].partition(":")
        request.path_params["job"] = job_id
        method = {("GET", ""): GET, ("DELETE", ""): DELETE, ("POST", "cancel"): CANCEL}.get((request.method, verb))
        if method is None:
            return _error(ServiceError(code_pb2.NOT_FOUND, f"no method {request.method} {request.url.path}"))
        return await answer(request, method)

    async def answer(request: Request, method: str) -> Response:
        try:
            message = _read_request(method, request, await request.body())
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            answered = await run_in_threadpool(core.invoke, method, message, token=token)
        except ServiceError as err:
            return _error(err)
        except ConnectionDropped:
            return DroppedResponse()
        except ClientDisconnect:
            return Response(status_code=499)
        # The enums of an answer are numbers when the client asks for it, as the generated clients do.
        as_numbers = "enum-encoding=int" in request.query_params.get("$alt", "")
        return Response(
            json_format.MessageToJson(answered, use_integers_for_enums=as_numbers, indent=None),
            media_type="application/json; charset=UTF-8",
        )

    async def on_faults(request: Request) -> Response:
        if request.method == "DELETE":
            core.faults.forget()
        else:
            core.faults.order(msgspec.json.decode(await request.body(), type=Fault))
        return JSONResponse({})

    async def on_calls(request: Request) -> Response:
        return JSONResponse(core.faults.counts())

    async def on_act(request: Request) -> Response:
        """Takes an order for one job: an act, or a state to end it in.

        ``{"name": ..., "act": "preempt"}`` or ``{"name": ..., "state": 9, "code": 0, "message": ""}``
        """
        order = await request.json()
        try:
            if "act" in order:
                core.act(order["name"], order["act"])
            else:
                core.move(order["name"], order["state"], code=order.get("code", 0), message=order.get("message", ""))
        except ServiceError as err:
            return _error(err)
        return JSONResponse({})

    async def on_log(request: Request) -> Response:
        return Response(core.log_of(request.query_params["name"]), media_type="text/plain")

    return Starlette(
        routes=[
            Route(_PARENT, on_collection, methods=["GET", "POST"]),
            Route(_PARENT + "/{job}", on_job, methods=["GET", "POST", "DELETE"]),
            Route("/_emulator/faults", on_faults, methods=["POST", "DELETE"]),
            Route("/_emulator/calls", on_calls),
            Route("/_emulator/jobs", on_act, methods=["POST"]),
            Route("/_emulator/log", on_log),
        ]
    )


def _read_request(method: str, request: Request, body: bytes) -> Any:
    parent = f"projects/{request.path_params['project']}/locations/{request.path_params['location']}"
    message = core_module.REQUESTS[method]()
    parameters = {name: value for name, value in request.query_params.items() if name not in _SYSTEM}
    if method == LIST:
        message.parent = parent
        _parse({_LIST_PARAMETERS.get(name, name): value for name, value in parameters.items()}, message, "")
        return message
    if parameters:
        raise _unknown(next(iter(parameters)), "")
    if method == CREATE:
        message.parent = parent
        _parse(_read_json(body), message.custom_job, " at 'custom_job'")
        return message
    message.name = f"{parent}/customJobs/{request.path_params['job']}"
    if body and _read_json(body) not in ({}, {"name": message.name}):
        raise _unknown(next(iter(_read_json(body))), "")
    return message


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as err:
        raise ServiceError(code_pb2.INVALID_ARGUMENT, f"Invalid JSON payload received. {err}") from err


def _parse(values: Any, message: Any, where: str) -> None:
    try:
        json_format.ParseDict(values, message)
    except json_format.ParseError as err:
        raise ServiceError(code_pb2.INVALID_ARGUMENT, f"Invalid JSON payload received{where}. {err}") from err


def _unknown(name: str, where: str) -> ServiceError:
    text = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot bind query parameter.'
    return ServiceError(code_pb2.INVALID_ARGUMENT, text)


def _error(err: ServiceError) -> Response:
    status = HTTP_STATUS.get(err.code, 500)
    error: dict[str, Any] = {"code": status, "message": err.message, "status": code_pb2.Code.Name(err.code)}
    if err.violations:
        listed = [{"field": name, "description": text} for name, text in err.violations]
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": listed}]
    return JSONResponse({"error": error}, status_code=status)
