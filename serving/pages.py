"""The pages: the list of runs, one run, the picture of its loss curves, runs side by side, and models."""

from collections import OrderedDict
from datetime import datetime
from threading import Lock
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serving.api import read_id
from serving.artifacts.api import to_address
from serving.compare.page import PATH as COMPARE
from serving.compare.page import ComparePage
from serving.conditional import Packable, answer, answer_packable, to_etag
from serving.lists.page import RunsPage
from serving.log_end import LogEnd, read_log_end
from serving.models.asked import to_page
from serving.models.page import DIFFERENCES_PATH, MODEL_PATH, VERSION_PATH, ModelPages
from serving.models.page import PATH as MODELS
from serving.rendering import CALLER, render
from serving.view.first import First, draw_first
from serving.view.run import to_view
from switchyard.clients.connect import Outside
from switchyard.core.errors import BadRequest
from switchyard.core.registry.rows import ModelVersion
from switchyard.core.runs.rows import QuickTest
from switchyard.services.artifact_reading import ArtifactSummary, summarize

RUNS_KEPT: Final = 32
"""This many runs' pages are kept as they were sent last: at most 60 MB, because a history is below 1 MB."""
ARTIFACTS_SHOWN: Final = 200
SCALES: Final = ("auto", "linear", "log")


class RunFacts(msgspec.Struct, frozen=True):
    """All that a run's page is made of: equal facts make the same page."""

    run: QuickTest
    stored: bytes | None
    before: int | None
    after: int | None
    log: LogEnd | None
    caller: str  # every page names the token it was opened with
    versions: tuple[ModelVersion, ...] = ()  # of the registry, that came of it
    deleted_at: datetime | None = None  # since when its MLflow run is known to be deleted there
    artifacts: ArtifactSummary | None = None  # that were copied from MLflow


class Rendered(msgspec.Struct, frozen=True):
    """A page as it is sent."""

    content: Packable
    headers: dict[str, str]


class Pages:
    """The pages over one wiring. Each is made in a worker thread, because the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self._kept: OrderedDict[tuple[int, str], tuple[RunFacts, Rendered]] = OrderedDict()
        self._keeping = Lock()

    def show_run(self, request: Request) -> Response:
        """Shows everything that is known of one run, or why nothing is; its tag changes with anything shown."""
        quick_test_id = read_id(request.path_params["quick_test_id"])
        # The row first: a history published in between is then news at the next refresh, never the other way round.
        run = self.outside.runs.read_run(quick_test_id)
        stored = self.outside.histories.read_history(quick_test_id).history_json
        before, after = self.outside.runs.find_beside(quick_test_id)
        versions = tuple(self.outside.catalogue.list_of_run(quick_test_id))
        deleted_at = self.outside.followed.find_deleted([quick_test_id]).get(quick_test_id)
        artifacts = summarize(self.outside, run.mlflow_run_id, limit=ARTIFACTS_SHOWN)
        log = read_log_end(self.outside, run)
        facts = RunFacts(run, stored, before, after, log, CALLER.get(), versions, deleted_at, artifacts)
        rendered = self._render(facts)
        return answer_packable(request, rendered.content, media_type="text/html", headers=rendered.headers)

    def _render(self, facts: RunFacts) -> Rendered:
        """Renders once for all who watch a run: of two hundred that ask every five seconds, one pays."""
        with self._keeping:
            kept = self._kept.get((facts.run.id, facts.caller))
        if kept is not None and kept[0] == facts:
            return kept[1]
        view = to_view(facts.run, facts.stored)
        drawn = draw_first(view.charts) if view.charts is not None else First()
        charts = {"id": facts.run.id, "live": view.live, "charts": msgspec.to_builtins(view.charts)}
        page = render(
            "run.html",
            view=view,
            charts=charts,
            drawn=drawn,
            before=facts.before,
            after=facts.after,
            log=facts.log,
            versions=facts.versions,
            deleted_at=facts.deleted_at,
            page_of=to_page,
            artifacts=facts.artifacts,
            address_of=to_address,
            caller=facts.caller,
            editable=not self.outside.settings.results_table,  # an application's own table is its own to change
        )
        rendered = Rendered(Packable.of(page.content), page.headers)
        with self._keeping:
            self._kept[facts.run.id, facts.caller] = (facts, rendered)
            self._kept.move_to_end((facts.run.id, facts.caller))
            if len(self._kept) > RUNS_KEPT:
                self._kept.popitem(last=False)
        return rendered

    def draw_losses(self, request: Request) -> Response:
        """Draws the loss curves as a PNG; ``?scale=`` auto (the default), linear or log."""
        # Imported at the first picture: matplotlib takes longer to load than the rest of the server.
        from serving.picture import draw

        scale = request.query_params.get("scale", "auto")
        if scale not in SCALES:
            raise BadRequest(f"`scale` must be one of {', '.join(SCALES)}; got {scale[:40]!r}")
        quick_test_id = read_id(request.path_params["quick_test_id"])
        run = self.outside.runs.read_run(quick_test_id)
        content = draw(run, self.outside.histories.read_history(quick_test_id).history_json, scale)
        return answer(request, content, to_etag(content), media_type="image/png")


def add_pages(app: FastAPI, outside: Outside) -> None:
    """Adds the pages' routes to `app`; GET and HEAD, with and without a last slash."""
    pages = Pages(outside)
    app.add_route("/", _go_to_runs, include_in_schema=False)
    models = ModelPages(outside)
    for path, endpoint in (
        (MODELS, models.list_models),
        (MODEL_PATH, models.show_model),
        (VERSION_PATH, models.show_version),
        (DIFFERENCES_PATH, models.show_differences),
        ("/quick-tests", RunsPage(outside).list_runs),
        (COMPARE, ComparePage(outside).show),
        ("/quick-tests/{quick_test_id}", pages.show_run),
        ("/quick-tests/{quick_test_id}/loss-curves.png", pages.draw_losses),
    ):
        app.add_route(path, endpoint, include_in_schema=False)
        app.add_route(path + "/", endpoint, include_in_schema=False)


def _go_to_runs(request: Request) -> Response:
    asked = request.url.query
    return RedirectResponse(f"quick-tests/?{asked}" if asked else "quick-tests/")
