"""The JSON API: runs, their histories, histograms and full series, the registry of models, and health."""

import gzip
import logging
from typing import Annotated, Any, Final, Literal

import anyio
import msgspec
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Path, Query
from fastapi.openapi.utils import get_openapi
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.artifacts.api import LIST_PATH as ARTIFACTS_PATH
from serving.artifacts.api import ONE_PATH as ARTIFACT_PATH
from serving.artifacts.api import ArtifactsApi
from serving.artifacts.schemas import CopiedArtifacts
from serving.artifacts.sending import MEDIA_TYPE
from serving.comparing import COMPARE_PATH, FIELDS_PATH, Comparing
from serving.comparison_schemas import ComparedRuns, KnownFields
from serving.conditional import NOSNIFF, accepts_gzip, answer, to_etag
from serving.deadline import DEADLINE_S
from serving.evaluation.api import EVALUATION_PATH, EvaluationApi
from serving.evaluation.schemas import Evaluation
from serving.listing import JSON, LIST_PATH, MAX_ID, Listing
from serving.models.api import HISTORY_PATH as MODEL_HISTORY_PATH
from serving.models.api import LIST_PATH as MODELS_PATH
from serving.models.api import MODEL_PATH, VERSION_PATH, ModelsApi
from serving.models.schemas import ModelHistory, ModelWithVersions, RegisteredModels, VersionDetails
from serving.parameters import only_known, refuse_others
from serving.schemas import FullSeriesData, Health, HistogramData, NotPublished, Problem, RunList, TrainingHistory
from switchyard.clients.connect import Outside
from switchyard.core.errors import BadRequest, TryAgain
from switchyard.services.published import NOT_PUBLISHED, find_series

_log = logging.getLogger("switchyard.serving")

HISTORY_PATH: Final = "/api/quick-tests/{quick_test_id}/training-history/"

_ID = Annotated[int, Meta(ge=1, le=MAX_ID)]
_PathId = Annotated[int, Path(ge=1, le=MAX_ID, description="the run's id", examples=[12])]
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "A parameter is missing or wrong"},
    503: {"model": Problem, "description": "The database does not answer; ask again after Retry-After seconds"},
}
_NO_RUN: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No run has this id"}}
_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "If-None-Match names what would be sent"}}


def read_id(text: str) -> int:
    """Reads the id that a path names. Raises: BadRequest."""
    try:
        return msgspec.convert(text, _ID, strict=False)
    except msgspec.ValidationError as err:
        raise BadRequest(f"a quick test's id must be a whole number from 1 to {MAX_ID}; got {text[:40]!r}") from err


class Api:
    """The endpoints over one wiring. Each is called in a worker thread, because the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def read_history(self, request: Request) -> Response:
        """The stored bytes as they are, under the ETag that was stored with them."""
        refuse_others(request, ())
        stored = self.outside.histories.read_history(read_id(request.path_params["quick_test_id"]))
        if stored.history_json is None:
            return answer(request, NOT_PUBLISHED, to_etag(NOT_PUBLISHED), media_type=JSON)
        etag = f'"{stored.etag}"' if stored.etag else to_etag(stored.history_json)
        return answer(request, stored.history_json, etag, media_type=JSON)

    def read_histogram(
        self,
        request: Request,
        quick_test_id: _PathId,
        kind: Annotated[Literal["weights", "gradients"], Query(alias="type", description="of what")] = "weights",
        tower: Annotated[Literal["query", "candidate"], Query(description="of which tower")] = "query",
    ) -> Response:
        """The stored histogram: as stored (gzip) to clients that accept it, unpacked to others."""
        packed = self.outside.histories.read_histogram(quick_test_id, kind, tower)
        return _answer_packed(request, packed)

    def read_series(self, request: Request, quick_test_id: _PathId) -> Response:
        """The stored series, as a histogram is sent; of a run that has none, the points of its history."""
        found = find_series(self.outside.histories, quick_test_id)
        return _answer_packed(request, found.gzip_json if found is not None else None)

    async def read_health(self) -> Response:
        """`ok` when the database answers a one-row query in time."""
        try:
            with anyio.fail_after(DEADLINE_S):
                await run_sync(self._ask_database, abandon_on_cancel=True)
        except TimeoutError as err:
            raise TryAgain(f"the results database gave no answer within {DEADLINE_S:.0f} s") from err
        return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store", **NOSNIFF})

    def _ask_database(self) -> None:
        try:
            self.outside.runs.list_runs(limit=1)
        except TryAgain as err:  # no token is asked for here, and the error names the database's host and user
            _log.warning("health: %s", err)
            raise TryAgain("the results database does not answer; the server's log says why") from err


def _answer_packed(request: Request, packed: bytes | None) -> Response:
    """Sends gzip JSON as it is to clients that accept it, unpacked to others; None means that nothing is published."""
    vary = {"Vary": "Accept-Encoding"}
    if packed is None:
        return answer(request, NOT_PUBLISHED, to_etag(NOT_PUBLISHED), media_type=JSON, headers=vary)
    # Weak: one tag stands for both encodings. Made from the bytes, because the run's digest need not change with them.
    etag = "W/" + to_etag(packed)
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        return answer(request, packed, etag, media_type=JSON, headers={**vary, "Content-Encoding": "gzip"})
    return answer(request, gzip.decompress(packed), etag, media_type=JSON, headers=vary)


def add_api(app: FastAPI, outside: Outside) -> None:
    """Adds the API's routes to `app`, and documents them."""
    api = Api(outside)
    comparing = Comparing(outside)
    # The hot routes go past FastAPI's machinery, which took a sixth of its throughput (wrk, 4 connections, one
    # 5 kB row of SQLite: 1,970 requests/s with it, 2,340 without; tests/bench/serving.py holds what is left against a
    # bare route). They come first, so that no other pattern is tried before them.
    for path in (HISTORY_PATH, HISTORY_PATH.rstrip("/")):
        app.add_route(path, api.read_history, include_in_schema=False)
    for path in (COMPARE_PATH, COMPARE_PATH.rstrip("/")):
        app.add_route(path, comparing.answer, include_in_schema=False)
    documented: dict[str, Any] = {"tags": ["results"]}
    _add(
        app,
        "/api/quick-tests/{quick_test_id}/histogram-data/",
        api.read_histogram,
        responses={200: {"model": HistogramData | NotPublished}, **_UNCHANGED, **_NO_RUN, **_PROBLEMS},
        **documented,
    )
    _add(
        app,
        "/api/quick-tests/{quick_test_id}/series/",
        api.read_series,
        responses={200: {"model": FullSeriesData | NotPublished}, **_UNCHANGED, **_NO_RUN, **_PROBLEMS},
        **documented,
    )
    _add(
        app,
        FIELDS_PATH,
        comparing.list_fields,
        responses={200: {"model": KnownFields}, **_UNCHANGED, **_PROBLEMS},
        **documented,
    )
    _add(
        app,
        LIST_PATH,
        Listing(outside).list_runs,
        responses={200: {"model": RunList}, **_UNCHANGED, **_PROBLEMS},
        **documented,
    )
    _add(
        app,
        EVALUATION_PATH,
        EvaluationApi(outside).read_evaluation,
        responses={200: {"model": Evaluation | NotPublished}, **_UNCHANGED, **_NO_RUN, **_PROBLEMS},
        **documented,
    )
    _add_artifacts(app, outside)
    _add_models(app, outside)
    add_health(app, outside)
    app.openapi = lambda: _document(app, api, comparing)  # type: ignore[method-assign]  # the way FastAPI's own docs extend it


def _add_artifacts(app: FastAPI, outside: Outside) -> None:
    """Adds the copies of artifacts. An artifact is sent as bytes, and the document can say no more of it."""
    artifacts = ArtifactsApi(outside)
    documented: dict[str, Any] = {"tags": ["artifacts"]}
    responses = {200: {"model": CopiedArtifacts | NotPublished}, **_UNCHANGED, **_NO_RUN, **_PROBLEMS}
    _add(app, ARTIFACTS_PATH, artifacts.list_artifacts, responses=responses, **documented)
    known = [only_known(ARTIFACT_PATH, artifacts.read_artifact)]
    some = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
    sent: dict[int | str, dict[str, Any]] = {
        200: {"description": "All bytes", **some},
        206: {"description": "The bytes that Range asks for", **some},
        404: {"model": Problem, "description": "No run has this id, or no artifact of it this name"},
        416: {"model": Problem, "description": "Range begins after the end"},
        **_UNCHANGED,
        **_PROBLEMS,
    }
    app.add_api_route(
        ARTIFACT_PATH,
        artifacts.read_artifact,
        methods=["GET"],
        dependencies=known,
        response_class=Response,
        responses=sent,
        **documented,
    )
    app.add_api_route(
        ARTIFACT_PATH, artifacts.read_artifact, methods=["HEAD"], dependencies=known, include_in_schema=False
    )


def _add_models(app: FastAPI, outside: Outside) -> None:
    """Adds the registry of models, read only."""
    models = ModelsApi(outside)
    no_model: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No model, or no such version"}}
    for path, endpoint, shape, missing in (
        (VERSION_PATH, models.read_version, VersionDetails, no_model),
        (MODEL_HISTORY_PATH, models.read_history, ModelHistory, no_model),
        (MODEL_PATH, models.read_model, ModelWithVersions, no_model),
        (MODELS_PATH, models.list_models, RegisteredModels, {}),
    ):
        responses = {200: {"model": shape}, **_UNCHANGED, **missing, **_PROBLEMS}
        _add(app, path, endpoint, responses=responses, tags=["models"])


def add_health(app: FastAPI, outside: Outside) -> None:
    """Adds the health check alone."""
    health = Api(outside).read_health
    _add(app, "/health", health, responses={200: {"model": Health}, 503: _PROBLEMS[503]}, tags=["server"])


def _add(app: FastAPI, path: str, endpoint: Any, **documentation: Any) -> None:
    """Adds GET at `path`, documented; also HEAD, and the same path with or without its last slash."""
    known = [only_known(path, endpoint)]
    app.add_api_route(path, endpoint, methods=["GET"], dependencies=known, **documentation)
    for spelling in (path.rstrip("/"), path.rstrip("/") + "/"):
        app.add_api_route(spelling, endpoint, methods=["GET", "HEAD"], dependencies=known, include_in_schema=False)


def _document(app: FastAPI, api: Api, comparing: Comparing) -> dict[str, Any]:
    """Makes the OpenAPI document, once. It adds the hot routes, which FastAPI does not serve and would not describe."""
    if app.openapi_schema is None:
        hot = APIRouter()
        hot.add_api_route(
            HISTORY_PATH,
            api.read_history,
            methods=["GET"],
            tags=["results"],
            responses={200: {"model": TrainingHistory | NotPublished}, **_UNCHANGED, **_NO_RUN, **_PROBLEMS},
            openapi_extra={
                "parameters": [
                    {
                        "name": "quick_test_id",
                        "in": "path",
                        "required": True,
                        "description": "the run's id",
                        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
                        "example": 12,
                    }
                ]
            },
        )
        hot.add_api_route(
            COMPARE_PATH,
            comparing.compare,
            methods=["GET"],
            tags=["results"],
            responses={200: {"model": ComparedRuns}, **_UNCHANGED, **_NO_RUN, **_PROBLEMS},
        )
        app.openapi_schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=[*hot.routes, *app.routes],
        )
    return app.openapi_schema
