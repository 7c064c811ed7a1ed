"""The routes of all contracts over one handler: ours, Vertex AI's, KServe's (v1) and MLflow's."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from serving.predictions.answering import Answered, RowsAnswered, answer, answer_rows, to_block
from serving.predictions.counts import Counts
from serving.predictions.feedback import FEEDBACK
from serving.predictions.holder import Holder
from serving.predictions.rate import Rate
from serving.predictions.replies import (
    RETRY_AFTER_S,
    Disconnected,
    Handler,
    Refused,
    Reply,
    read_body,
    send_reply,
    to_json,
    to_problem,
    to_refusal,
)
from serving.predictions.state import Loaded, State
from serving.predictions.work import WAITS, Work
from switchyard.core.access.rules import SAFE_METHODS, Need
from switchyard.core.errors import TryAgain
from switchyard.core.predictions.requests import (
    PredictRequest,
    RowsRequest,
    read_invocations,
    read_predict,
    read_rows_invocations,
    read_rows_predict,
)
from switchyard.core.predictions.signature import Signature
from switchyard.core.predictions.sources import Tried

PREDICT: Final = "/predict"
HEALTH: Final = "/health"
METRICS: Final = "/metrics"
INVOCATIONS: Final = "/invocations"
KSERVE: Final = "/v1/models"
MAX_SHOWN: Final = 100
"""The most columns in /health, which is asked every few seconds."""
_UNKNOWN: Final = "none"
_OPEN: Final = frozenset({"/", HEALTH, "/ping", "/version"})

Answer = Callable[[PredictRequest, State], Answered]
OnAnswered = Callable[[PredictRequest, State, Answered, float], None]
"""Called after an answer was sent, so that no caller waits for it."""
OnRowsAnswered = Callable[[RowsRequest, State, RowsAnswered, float], None]


@dataclass(frozen=True)
class _Contract:
    """How a contract's body is read, for each kind of model."""

    read: Callable[[bytes], PredictRequest]
    read_rows: Callable[[bytes, Signature], RowsRequest]


_OURS: Final = _Contract(read_predict, read_rows_predict)
_MLFLOW: Final = _Contract(read_invocations, read_rows_invocations)

_log = logging.getLogger("switchyard.predictions")


def to_need(method: str, path: str, *, predict_route: str = "", health_route: str = "") -> Need:
    """Returns what access a route needs; a slash at its end makes no difference, as in `Routes`.

    Health checks come from load balancers, which have no token. A prediction changes nothing, so a token that may read
    is enough. A route that is not named here needs more, so that a forgotten one is not open."""
    path = path.rstrip("/") or "/"
    if method in SAFE_METHODS:
        is_open = path in _OPEN or path == health_route.rstrip("/") or path.startswith(KSERVE)
        return Need.NOTHING if is_open else Need.ASK
    if path == FEEDBACK:
        return Need.TELL
    is_asked = path in (PREDICT, INVOCATIONS, predict_route.rstrip("/")) or path.startswith(KSERVE)
    return Need.ASK if is_asked else Need.WRITE


class Routes:
    """The ASGI application of the routes; `add` takes further routes before the first request."""

    def __init__(
        self,
        holder: Holder,
        counts: Counts,
        rate: Rate,
        *,
        answer: Answer = answer,
        on_answered: OnAnswered | None = None,
        on_rows_answered: OnRowsAnswered | None = None,
        predict_route: str = "",
        health_route: str = "",
    ) -> None:
        self.holder, self.counts = holder, counts
        self.work = Work()
        self._rate, self._answer = rate, answer
        self._on_answered, self._on_rows_answered = on_answered, on_rows_answered
        self._handlers: dict[tuple[str, str], Handler] = {}
        for path in filter(None, (PREDICT, predict_route)):
            self.add("POST", path, self._predict)
        self.add("POST", INVOCATIONS, self._invoke)
        for path in filter(None, (HEALTH, health_route)):
            self.add("GET", path, self._tell_health)
        self.add("GET", "/ping", self._ping)
        self.add("GET", "/version", self._tell_version)
        self.add("GET", "/", self._tell_alive)
        self.add("GET", METRICS, self._tell_metrics)
        self.add("GET", KSERVE, self._list_models)

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Adds a route, with and without a slash at its end; a GET route also answers HEAD."""
        path = path.rstrip("/") or "/"
        for each in ("GET", "HEAD") if method == "GET" else (method,):
            self._handlers[each, path] = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, whatever happens inside."""
        began = time.perf_counter()
        path = scope["path"]
        if len(path) > 1 and path[-1] == "/":
            path = path.rstrip("/") or "/"
        handler, route = self._find(scope["method"], path)
        try:
            reply = await handler(scope, receive)
        except Disconnected:
            return
        except Exception as err:  # noqa: BLE001 - the caller gets an answer, whatever went wrong
            refusal = to_refusal(err)
            if refusal is None:
                _log.exception("a request to %s failed", route)
                said = "an error inside the server; its log says more"
                refusal = to_problem(HTTPStatus.INTERNAL_SERVER_ERROR, said)
            reply = refusal
        await send_reply(reply, send, has_body=scope["method"] != "HEAD")
        self.counts.add_request(route, reply.status, time.perf_counter() - began)
        if reply.after is not None:
            reply.after()

    def _find(self, method: str, path: str) -> tuple[Handler, str]:
        handler = self._handlers.get((method, path))
        if handler is not None:
            return handler, path
        if path.startswith(f"{KSERVE}/"):
            if method == "POST" and path.endswith(":predict"):
                return self._predict_named, f"{KSERVE}/{{name}}:predict"
            if method in ("GET", "HEAD"):
                return self._tell_ready, f"{KSERVE}/{{name}}"
        allowed = sorted(other for other, known in self._handlers if known == path)
        return _refuse(path, allowed), path if allowed else _UNKNOWN

    async def _predict(self, scope: Scope, receive: Receive) -> Reply:
        return await self._reply(scope, receive, _OURS)

    async def _invoke(self, scope: Scope, receive: Receive) -> Reply:
        return await self._reply(scope, receive, _MLFLOW)

    async def _predict_named(self, scope: Scope, receive: Receive) -> Reply:
        self._check_name(scope["path"].removeprefix(f"{KSERVE}/").rstrip("/").removesuffix(":predict"))
        return await self._reply(scope, receive, _OURS)

    async def _reply(self, scope: Scope, receive: Receive, contract: _Contract) -> Reply:
        """Reads the state once and answers from it, even if another model is put in place meanwhile.

        While no model is loaded, the body is not read, because its format depends on the model."""
        self._rate.check(scope)
        if self.holder.state.champion is None:
            raise TryAgain(f"no model is loaded: {self.holder.state.problem}")
        body = await read_body(scope, receive)
        state = self.holder.state
        if state.champion is not None and state.champion.rows is not None:
            return await self._reply_rows(contract.read_rows(body, state.champion.rows.signature), state)
        return await self._reply_buyers(contract.read(body), state)

    async def _reply_buyers(self, request: PredictRequest, state: State) -> Reply:
        champion = state.champion
        if champion is None or champion.recommender is None:
            raise TryAgain(f"no model is loaded: {state.problem}")
        scores = len(request.buyer_ids) * len(champion.recommender.products)

        def work() -> tuple[Answered, bytes, float]:
            began = time.perf_counter()
            answered = self._answer(request, state)
            seconds = time.perf_counter() - began
            return answered, msgspec.json.encode(answered), seconds

        answered, body, seconds = await self.work.do(work, scores=scores)
        return Reply(body, after=lambda: self._note(request, state, answered, seconds))

    async def _reply_rows(self, request: RowsRequest, state: State) -> Reply:
        """Answers rows; if the model's process ended because it was replaced meanwhile, its successor answers."""

        def work() -> tuple[State, RowsAnswered, bytes, float]:
            began = time.perf_counter()
            asked = state
            try:
                answered = answer_rows(request, asked)
            except TryAgain:
                asked = self.holder.state
                if asked is state:
                    raise
                answered = answer_rows(request, asked)
            seconds = time.perf_counter() - began
            return asked, answered, msgspec.json.encode(answered), seconds

        asked, answered, body, seconds = await self.work.do(work, scores=WAITS)
        return Reply(body, after=lambda: self._note_rows(request, asked, answered, seconds))

    def _note(self, request: PredictRequest, state: State, answered: Answered, seconds: float) -> None:
        self.counts.add_answer(answered)
        if self._on_answered is not None:
            try:
                self._on_answered(request, state, answered, seconds)
            except Exception:  # noqa: BLE001 - the answer was sent
                _log.exception("what follows an answer failed; the answer was sent")

    def _note_rows(self, request: RowsRequest, state: State, answered: RowsAnswered, seconds: float) -> None:
        self.counts.add_answer(answered)
        if self._on_rows_answered is not None:
            try:
                self._on_rows_answered(request, state, answered, seconds)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("what follows an answer failed; the answer was sent")

    async def _tell_health(self, scope: Scope, receive: Receive) -> Reply:
        health = to_health(self.holder.state)
        if health["ready"]:
            return to_json(health)
        headers = ((b"retry-after", str(RETRY_AFTER_S).encode()),)
        return Reply(msgspec.json.encode(health), int(HTTPStatus.SERVICE_UNAVAILABLE), headers=headers)

    async def _ping(self, scope: Scope, receive: Receive) -> Reply:
        if not self.holder.state.is_ready:
            raise TryAgain(f"no model is loaded: {self.holder.state.why_not_ready}")
        return Reply(b"\n", media_type="text/plain")

    async def _tell_version(self, scope: Scope, receive: Receive) -> Reply:
        return Reply(version("switchyard").encode(), media_type="text/plain")

    async def _tell_alive(self, scope: Scope, receive: Receive) -> Reply:
        return to_json({"status": "alive"})

    async def _tell_metrics(self, scope: Scope, receive: Receive) -> Reply:
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        content, media_type = self.counts.encode(accept.decode("latin-1"))
        return Reply(content, media_type=media_type)

    async def _list_models(self, scope: Scope, receive: Receive) -> Reply:
        champion = self.holder.state.champion
        return to_json({"models": [champion.name] if champion else []})

    async def _tell_ready(self, scope: Scope, receive: Receive) -> Reply:
        name = scope["path"].removeprefix(f"{KSERVE}/").rstrip("/")
        self._check_name(name)
        ready = self.holder.state.is_ready
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return to_json({"name": name, "ready": ready}, int(status))

    def _check_name(self, name: str) -> None:
        champion = self.holder.state.champion
        if champion is not None and name != champion.name:
            raise Refused(HTTPStatus.NOT_FOUND, f"no model {name[:80]!r} is served here; this is {champion.name}")


def _refuse(path: str, allowed: list[str]) -> Handler:
    async def refuse(scope: Scope, receive: Receive) -> Reply:
        if not allowed:
            raise Refused(HTTPStatus.NOT_FOUND, f"nothing is served at {path[:200]}; predictions are at POST {PREDICT}")
        reply = to_problem(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {', '.join(allowed)}")
        return replace(reply, headers=((b"allow", ", ".join(allowed).encode()),))

    return refuse


def to_health(state: State) -> dict[str, Any]:
    """Returns what /health says: ready, degraded or not ready, and why."""
    status = "not ready" if not state.is_ready else "degraded" if state.is_degraded else "ready"
    why = state.problem if state.is_ready else state.why_not_ready
    if not why and state.tried:
        why = "; ".join(f"{each.source}: {each.why_not}" for each in state.tried)
    return {
        "status": status,
        "ready": state.is_ready,
        "degraded": state.is_degraded,
        "why": why,
        "model": _describe(state.champion, "champion", state.tried),
        "challenger": _describe(state.challenger, "challenger"),
        "share": state.share,
        "tried": msgspec.to_builtins(state.tried),
    }


def _describe(loaded: Loaded | None, arm: str, tried: tuple[Tried, ...] = ()) -> dict[str, Any] | None:
    if loaded is None:
        return None
    block: dict[str, Any] = msgspec.to_builtins(to_block(loaded, arm, tried))
    if loaded.rows is not None:
        process = {"library": loaded.rows.library, "unconfined": loaded.rows.unconfined}
        return {**block, **process, **_describe_rows(loaded.rows.signature)}
    recommender = loaded.recommender
    assert recommender is not None
    return {
        **block,
        "products": len(recommender.products),
        "popular_by": recommender.popularity,
        "without_bought": recommender.has_purchases,
    }


def _describe_rows(signature: Signature) -> dict[str, Any]:
    columns = [msgspec.to_builtins(column) for column in signature.columns[:MAX_SHOWN]]
    return {
        "columns": columns,
        "more_columns": len(signature.columns) - len(columns),
        "answers": signature.answers,
    }
