"""How good a run's model is beside baselines: its evaluation report, for programs and for the run's page."""

from typing import Annotated, Final

import msgspec
from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from serving.conditional import answer, answer_json, to_etag
from serving.listing import JSON, MAX_ID
from switchyard.clients.connect import Outside
from switchyard.core.metrics.evaluation import to_title
from switchyard.services.evaluation_reading import find_report
from switchyard.services.published import NOT_PUBLISHED

EVALUATION_PATH: Final = "/api/quick-tests/{quick_test_id}/evaluation/"

_PathId = Annotated[int, Path(ge=1, le=MAX_ID, description="the run's id", examples=[12])]


class EvaluationApi:
    """The endpoint over one wiring. It is called in a worker thread, for the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def read_evaluation(self, request: Request, quick_test_id: _PathId) -> Response:
        """The model's figures and each baseline's on held-out purchases, with bounds, and who wins."""
        report = find_report(self.outside.objects, self.outside.runs.read_run(quick_test_id))
        if report is None:
            return answer(request, NOT_PUBLISHED, to_etag(NOT_PUBLISHED), media_type=JSON)
        names = [*(one.name for one in report.contenders), *(one.name for one in report.left_out)]
        titles = {name: to_title(name) for name in names}
        sent = {"available": True, "titles": titles, **msgspec.to_builtins(report)}
        return answer_json(request, msgspec.json.encode(sent))
