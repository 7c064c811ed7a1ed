"""The pages: the list of runs, one run, and the picture of its loss curves."""

from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serving.api import read_id
from serving.conditional import answer, to_etag
from serving.rendering import Page, render
from serving.view import to_view
from switchyard.clients.connect import Outside
from switchyard.core.errors import BadRequest

RUNS_A_PAGE: Final = 50
SCALES: Final = ("auto", "linear", "log")


class Pages:
    """The pages over one wiring. Each is made in a worker thread, for the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def list_runs(self, request: Request) -> Response:
        """The runs, newest first, with links to their pages."""
        before = request.query_params.get("before")
        before_id = None if before is None else read_id(before)
        runs = self.outside.runs.list_runs(limit=RUNS_A_PAGE + 1, before_id=before_id)
        older = f"/quick-tests/?before={runs[RUNS_A_PAGE - 1].id}" if len(runs) > RUNS_A_PAGE else ""
        return _send(request, render("runs.html", runs=runs[:RUNS_A_PAGE], older=older, first=before is None))

    def show_run(self, request: Request) -> Response:
        """Everything that is known of one run, or why nothing is; its tag changes with anything shown."""
        quick_test_id = read_id(request.path_params["quick_test_id"])
        # The row first: a history published in between is then news at the next refresh, never the other way round.
        run = self.outside.runs.read_run(quick_test_id)
        view = to_view(run, self.outside.histories.read_history(quick_test_id).history_json)
        charts = {"id": run.id, "live": view.live, "charts": msgspec.to_builtins(view.charts)}
        return _send(request, render("run.html", view=view, charts=charts))

    def draw_losses(self, request: Request) -> Response:
        """The loss curves as a PNG; ``?scale=`` auto (the default), linear or log."""
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
    for path, endpoint in (
        ("/quick-tests", pages.list_runs),
        ("/quick-tests/{quick_test_id}", pages.show_run),
        ("/quick-tests/{quick_test_id}/loss-curves.png", pages.draw_losses),
    ):
        app.add_route(path, endpoint, include_in_schema=False)
        app.add_route(path + "/", endpoint, include_in_schema=False)


def _go_to_runs(request: Request) -> Response:
    return RedirectResponse("quick-tests/")


def _send(request: Request, page: Page) -> Response:
    return answer(request, page.content, to_etag(page.content), media_type="text/html", headers=page.headers)
