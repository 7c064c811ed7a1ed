"""The copied artifacts of a run's MLflow run, for programs and for the run's page: their list, and each by its name."""

from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from serving.artifacts.sending import send_artifact
from serving.conditional import answer, answer_json, to_etag
from serving.listing import JSON, MAX_ID
from switchyard.clients.connect import Outside
from switchyard.core.artifacts.manifest import Copied
from switchyard.core.errors import NotFound
from switchyard.services.artifact_reading import find_artifacts
from switchyard.services.published import NOT_PUBLISHED

LIST_PATH: Final = "/api/quick-tests/{quick_test_id}/artifacts/"
ONE_PATH: Final = "/api/quick-tests/{quick_test_id}/artifacts/{path:path}"
MOST: Final = 10_000

_PathId = Annotated[int, Path(ge=1, le=MAX_ID, description="the run's id", examples=[12])]


class ArtifactsApi:
    """The endpoints over one wiring. Each is called in a worker thread, because the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def list_artifacts(
        self,
        request: Request,
        quick_test_id: _PathId,
        limit: Annotated[int, Query(ge=1, le=MOST, description="artifacts a page")] = 1_000,
        after: Annotated[str, Query(description="only artifacts with names after this one")] = "",
    ) -> Response:
        """The artifacts that were copied of the run's MLflow run, by name, and those that were left out."""
        run = self.outside.runs.read_run(quick_test_id)
        kept = find_artifacts(self.outside, run.mlflow_run_id)
        if kept is None:
            return answer(request, NOT_PUBLISHED, to_etag(NOT_PUBLISHED), media_type=JSON)
        manifest = kept.manifest
        found = [one for one in manifest.objects if one.path > after]
        following = None
        if len(found) > limit:
            asked = urlencode({"limit": limit, "after": found[limit - 1].path})
            following = f"{LIST_PATH.format(quick_test_id=quick_test_id)}?{asked}"
        return _answer(
            request,
            {
                "available": True,
                "mlflow_run_id": manifest.mlflow_run_id,
                "digest": kept.copy.digest,
                "copied_at": kept.copy.copied_at,
                "count": len(manifest.objects),
                "size_bytes": manifest.size_bytes,
                "left_out": manifest.left_out,
                "items": [_to_item(quick_test_id, one) for one in found[:limit]],
                "next": following,
            },
        )

    def read_artifact(
        self,
        request: Request,
        quick_test_id: _PathId,
        path: Annotated[str, Path(description="the artifact's name, as the list has it")],
    ) -> Response:
        """The bytes of one artifact, to be saved.

        The ETag is their SHA-256; a part is sent where `Range` asks for one.
        """
        run = self.outside.runs.read_run(quick_test_id)
        kept = find_artifacts(self.outside, run.mlflow_run_id)
        if kept is None:
            raise NotFound(f"no artifacts of quick test {quick_test_id} were copied: switchyard artifacts copy")
        return send_artifact(request, self.outside, kept, kept.find(path))


def to_address(quick_test_id: int, path: str) -> str:
    """Returns the address where an artifact is sent."""
    return f"{LIST_PATH.format(quick_test_id=quick_test_id)}{quote(path, safe='/')}"


def _to_item(quick_test_id: int, one: Copied) -> dict[str, Any]:
    return {
        "path": one.path,
        "size_bytes": one.size_bytes,
        "sha256": one.sha256,
        "url": to_address(quick_test_id, one.path),
    }


def _answer(request: Request, found: dict[str, Any]) -> Response:
    return answer_json(request, msgspec.json.encode(found))
