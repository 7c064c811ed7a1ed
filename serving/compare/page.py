"""The page that puts runs side by side. Its charts and tables are there without a script."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from serving.compare.heads import to_style
from serving.compare.view import Look, to_view
from serving.comparing import read_ids
from serving.conditional import Packable, answer_packable
from serving.parameters import refuse_others
from serving.rendering import render, with_forms
from switchyard.clients.connect import Outside
from switchyard.core.comparison.compared import MAX_RUNS, compare
from switchyard.core.errors import BadRequest

PATH: Final = "/compare"
NAMES: Final = ("ids", "find", "x", "y", "log_x", "log_y")


class ComparePage:
    """The endpoint over one wiring; called in a worker thread, because the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def show(self, request: Request) -> Response:
        """Shows the runs of `ids`, in their order: between commas, or one a parameter, as a form sends them."""
        query = request.query_params
        refuse_others(request, NAMES, repeated=True)
        given = ",".join(part for part in query.getlist("ids") if part.strip())
        if not given:
            raise BadRequest("No runs are named. Select them in the list of runs, or write them: /compare?ids=1,3,9")
        ids = read_ids(given)
        named = [part.strip() for part in given.split(",")]
        found = compare(ids, self.outside.histories.read_compared(ids))
        look = Look(
            find=query.get("find", "").strip(),
            x=query.get("x", ""),
            y=query.get("y", ""),
            log_x=query.get("log_x") == "on",
            log_y=query.get("log_y") == "on",
        )
        view = to_view(found, look)
        page = with_forms(
            render(
                "compare.html",
                view=view,
                look=look,
                ids=",".join(map(str, ids)),
                twice=[id_ for id_ in ids if sum(int(part) == id_ for part in named) > 1],
                most=MAX_RUNS,
                style=to_style,
                data={
                    "address": f"/api/quick-tests/compare/?ids={','.join(map(str, ids))}",
                    "runs": [{"id": head.id, "name": head.name} for head in view.runs],
                },
            )
        )
        return answer_packable(request, Packable.of(page.content), media_type="text/html", headers=page.headers)
