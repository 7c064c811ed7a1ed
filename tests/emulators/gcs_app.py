"""The Cloud Storage JSON API over HTTP, in front of `gcs_store`; and below ``/_emulator/`` what a test may order.

Paths are read raw, for an object's name is one percent-encoded segment: ``a%2Fb`` is not ``a/b``.
Source of paths and answers: https://cloud.google.com/storage/docs/json_api/v1
"""

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from urllib.parse import unquote

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.emulators.faults import Fault, Faults
from tests.emulators.gcs_calls import Calls, to_json
from tests.emulators.gcs_push import PushConfig, Pusher
from tests.emulators.gcs_rules import Preconditions, Refused, no_bucket
from tests.emulators.gcs_store import Store
from tests.emulators.gcs_uploads import cancel_resumable

# Source: https://cloud.google.com/storage/docs/access-control/iam-json
_PERMISSIONS = {
    "objects.insert": "storage.objects.create",
    "uploads.start": "storage.objects.create",
    "uploads.put": "storage.objects.create",
    "objects.compose": "storage.objects.create",
    "objects.copy": "storage.objects.create",
    "objects.get": "storage.objects.get",
    "objects.download": "storage.objects.get",
    "objects.list": "storage.objects.list",
    "objects.delete": "storage.objects.delete",
    "objects.patch": "storage.objects.update",
    "buckets.get": "storage.buckets.get",
    "buckets.insert": "storage.buckets.create",
    "buckets.list": "storage.buckets.list",
    "buckets.patch": "storage.buckets.update",
    "buckets.delete": "storage.buckets.delete",
}

# Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes
_FAULT_TEXTS = {
    400: ("invalid", "Bad Request"),
    404: ("notFound", "Not Found"),
    409: ("conflict", "The request conflicted with another request in progress."),
    410: ("gone", "The upload session is no longer available; start a new one."),
    412: ("conditionNotMet", "At least one of the pre-conditions you specified did not hold."),
    429: ("rateLimitExceeded", "The object exceeded the rate limit for object mutation operations. Please reduce your request rate."),  # noqa: E501
    500: ("backendError", "We encountered an internal error. Please try again."),
    502: ("backendError", "Bad Gateway"),
    503: ("backendError", "Backend Error. Please try again."),
    504: ("backendError", "Gateway Timeout"),
}  # fmt: skip


class Ways(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What differs between the service's days, and between the endpoints that stand for it."""

    reads_bytes_per_s: float = 0.0
    """How fast a request's body is taken, as by a narrow line; 0: at once."""
    names_no_size: bool = False
    """An empty object's resource has no ``size``: it is ``omitempty`` in Google's own Go types.
    Source: https://github.com/yoshidan/google-cloud-rust/pull/326"""
    missing_bucket_words: str = ""
    """Said of a missing bucket in place of "The specified bucket does not exist."; seen are "Not Found" and "No such
    object: <bucket>/<object>". Source: https://github.com/googleapis/nodejs-storage/issues/220 and 1183"""
    broken_sum_status: int = 400
    """Of the answer to data whose sum is another; 412: googleapis/storage-testbench 0.45.0 (testbench/error.py)"""

    def word(self, refused: Refused) -> Refused:
        """The same refusal as it is said this way."""
        if self.missing_bucket_words and refused.message == no_bucket().message:
            return Refused(refused.status, refused.reason, self.missing_bucket_words)
        if refused.is_broken_sum and self.broken_sum_status == 412:
            return Refused(412, "conditionNotMet", refused.message)
        return refused


class CallPlan(msgspec.Struct, frozen=True):
    """One request understood: its kind, what it is about, and the function that does it."""

    kind: str
    bucket: str
    name: str
    act: Callable[[], Response]


class GcsApp:
    """The ASGI app.

    Args:
        token_prefix: None: anonymous callers may do everything; else a request must carry a bearer token that
            starts so.
        denied: IAM permissions that the caller lacks, e.g. ``storage.objects.delete``.
        ways: how else the service, or an endpoint that stands for it, may behave.
    """

    def __init__(self, store: Store, *, token_prefix: str | None = None) -> None:
        self.store = store
        self.faults = Faults()
        self.pusher = Pusher()
        self.token_prefix = token_prefix
        self.denied: set[str] = set()
        self.ways = Ways()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        query = dict(request.query_params)
        segments = [unquote(part) for part in request.scope["raw_path"].decode("ascii").strip("/").split("/")]
        body = await self._receive(request)
        if segments[0] == "_emulator":
            return self._order(request.method, segments[1:], body)
        media = query.get("alt") == "media"
        try:
            plan = self._plan(request, segments, query, body)
            fault = self.faults.take(plan.kind, plan.name)
            if fault.flip:
                plan = self._plan(request, segments, query, _flip(body))
            if fault.after:
                response = await anyio.to_thread.run_sync(self._carry_out, request, plan)
            await self._wait(fault)
            if fault.status:
                if fault.status in (409, 410) and "upload_id" in query:  # the session is gone for good
                    cancel_resumable(self.store, query["upload_id"])
                raise self._to_refusal(fault.status, plan, fault.message)
            if not fault.after:
                response = await anyio.to_thread.run_sync(self._carry_out, request, plan)
        except Refused as refused:
            return _to_response(self.ways.word(refused), plain=media)
        return _cut(response) if fault.broken else response

    async def _receive(self, request: Request) -> bytes:
        """The request's body, at the pace that was ordered; what was not taken yet fills the sender's buffers."""
        parts = []
        async for part in request.stream():
            parts.append(part)
            if self.ways.reads_bytes_per_s:
                await anyio.sleep(len(part) / self.ways.reads_bytes_per_s)
        return b"".join(parts)

    def _carry_out(self, request: Request, plan: CallPlan) -> Response:
        self._authorize(request, plan)
        return plan.act()

    async def _wait(self, fault: Fault) -> None:
        if fault.delay_s:
            await anyio.sleep(fault.delay_s)
        if fault.hold:
            await anyio.to_thread.run_sync(self.faults.wait_released, fault, abandon_on_cancel=True)

    def _plan(self, request: Request, segments: list[str], query: dict[str, str], body: bytes) -> CallPlan:
        root = str(request.base_url).rstrip("/")
        headers = request.headers
        make = Calls(self.store, self.pusher, root, query, headers, body, names_no_size=self.ways.names_no_size)
        match request.method, segments:
            case "GET", ["storage", "v1", "b"]:
                return CallPlan("buckets.list", "", "", make.list_buckets)
            case "POST", ["storage", "v1", "b"]:
                return CallPlan("buckets.insert", "", "", make.create_bucket)
            case "GET", ["storage", "v1", "b", bucket]:
                return CallPlan("buckets.get", bucket, "", partial(make.read_bucket, bucket))
            case "PATCH", ["storage", "v1", "b", bucket]:
                return CallPlan("buckets.patch", bucket, "", partial(make.patch_bucket, bucket))
            case "DELETE", ["storage", "v1", "b", bucket]:
                return CallPlan("buckets.delete", bucket, "", partial(make.delete_bucket, bucket))
            case "GET", ["storage", "v1", "b", bucket, "o"]:
                return CallPlan("objects.list", bucket, "", partial(make.list, bucket))
            case "GET", ["download", "storage", "v1", "b", bucket, "o", name]:
                return CallPlan("objects.download", bucket, name, partial(make.download, bucket, name))
            case "GET", ["storage", "v1", "b", bucket, "o", name] if query.get("alt") == "media":
                return CallPlan("objects.download", bucket, name, partial(make.download, bucket, name))
            case "GET", ["storage", "v1", "b", bucket, "o", name]:
                return CallPlan("objects.get", bucket, name, partial(make.stat, bucket, name))
            case "DELETE", ["storage", "v1", "b", bucket, "o", name]:
                return CallPlan("objects.delete", bucket, name, partial(make.delete, bucket, name))
            case "PATCH", ["storage", "v1", "b", bucket, "o", name]:
                return CallPlan("objects.patch", bucket, name, partial(make.patch, bucket, name))
            case "POST", ["storage", "v1", "b", bucket, "o", name, "compose"]:
                return CallPlan("objects.compose", bucket, name, partial(make.compose, bucket, name))
            case "POST", [
                "storage",
                "v1",
                "b",
                source,
                "o",
                source_name,
                ("copyTo" | "rewriteTo") as verb,
                "b",
                bucket,
                "o",
                name,
            ]:
                act = partial(make.copy, source, source_name, bucket, name, rewrite=verb == "rewriteTo")
                return CallPlan("objects.copy", bucket, name, act)
            case "PUT" | "DELETE", ["upload", "storage", "v1", "b", bucket, "o"] if "upload_id" in query:
                end = make.cancel_upload if request.method == "DELETE" else make.put_chunk
                return CallPlan("uploads.put", bucket, query.get("name", ""), end)
            case "POST", ["upload", "storage", "v1", "b", bucket, "o"]:
                return self._plan_upload(make, bucket, query, body)
        raise Refused(404, "notFound", f"Not Found: {request.method} /{'/'.join(segments)} is not emulated")

    @staticmethod
    def _plan_upload(make: Calls, bucket: str, query: dict[str, str], body: bytes) -> CallPlan:
        sent = re.search(rb'"name"\s*:\s*("(?:[^"\\]|\\.)*")', body[:65536]) if "name" not in query else None
        name = msgspec.json.decode(sent[1], type=str) if sent else query.get("name", "")
        match query.get("uploadType"):
            case "media" | "multipart" as how:
                return CallPlan("objects.insert", bucket, name, partial(make.insert, bucket, how))
            case "resumable":
                return CallPlan("uploads.start", bucket, name, partial(make.start_upload, bucket, name))
        raise Refused(400, "invalid", "Upload requests must include an uploadType URL parameter.")

    def _authorize(self, request: Request, plan: CallPlan) -> None:
        permission = _PERMISSIONS[plan.kind]
        if self.token_prefix is not None:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if not token:
                raise self._to_refusal(401, plan)
            if scheme != "Bearer" or not token.startswith(self.token_prefix):
                raise Refused(401, "authError", "Invalid Credentials", location=("header", "Authorization"))
        if permission in self.denied:
            raise self._to_refusal(403, plan)
        if permission == "storage.objects.create" and "storage.objects.delete" in self.denied:
            # Overwriting needs both. Source: https://cloud.google.com/storage/docs/json_api/v1/objects/insert
            try:
                self.store.stat(plan.bucket, plan.name, Preconditions())
            except Refused:
                return
            raise self._to_refusal(403, msgspec.structs.replace(plan, kind="objects.delete"))

    def _to_refusal(self, status: int, plan: CallPlan, words: str = "") -> Refused:
        permission = _PERMISSIONS[plan.kind]
        lacks = (
            f"does not have {permission} access to the Google Cloud Storage object. "
            f"Permission '{permission}' denied on resource (or it may not exist)."
        )
        if status == 401:
            return Refused(401, "required", f"Anonymous caller {lacks}", location=("header", "Authorization"))
        if status == 403:
            return Refused(403, "forbidden", f"trainer@local.iam.gserviceaccount.com {lacks}")
        reason, message = _FAULT_TEXTS.get(status, ("backendError", f"Injected {status}"))
        return Refused(status, reason, words or message)

    def _order(self, method: str, segments: list[str], body: bytes) -> Response:
        """What a test in another process may order; one in this process calls the objects directly."""
        try:
            return self._obey(method, segments, body)
        except msgspec.DecodeError as err:
            return Response(f"bad order: {err}", status_code=400)

    def _obey(self, method: str, segments: list[str], body: bytes) -> Response:
        match method, segments:
            case "GET", ["health"]:
                return to_json({"ok": True})
            case "POST", ["faults"]:
                self.faults.order(msgspec.json.decode(body, type=Fault))
                return to_json({})
            case "DELETE", ["faults"]:
                self.faults.forget()
                return to_json({})
            case "GET", ["calls"]:
                return to_json(self.faults.counts())
            case "POST", ["notifications"]:
                self.pusher.add(msgspec.json.decode(body, type=PushConfig))
                return to_json({})
            case "DELETE", ["notifications"]:
                self.pusher.clear()
                return to_json({})
            case "PUT", ["ways"]:
                self.ways = msgspec.json.decode(body, type=Ways)
                return to_json({})
            case "PUT", ["denied"]:
                self.denied = msgspec.json.decode(body, type=set[str])
                return to_json({})
        return Response(f"no such order: {method} /_emulator/{'/'.join(segments)}", status_code=404)


def _flip(body: bytes) -> bytes:
    """One bit in the middle of a body, where the data is."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _cut(response: Response) -> Response:
    """The answer's head and half of its body, then the end of the connection."""
    half = bytes(response.body)[: len(response.body) // 2]

    async def stream() -> AsyncIterator[bytes]:
        yield half
        raise ConnectionAbortedError("injected: the connection is cut in mid-answer")

    headers = {key: value for key, value in response.headers.items() if key != "content-length"}
    length = max(len(response.body), 1)
    return StreamingResponse(stream(), response.status_code, {**headers, "Content-Length": str(length)})


def _to_response(refused: Refused, *, plain: bool) -> Response:
    """Errors are JSON, except for media downloads, which say them in plain words."""
    if plain and refused.status != 304:
        return Response(refused.message, refused.status, media_type="text/html; charset=UTF-8")
    return Response(refused.to_body(), refused.status, media_type="application/json; charset=UTF-8")
