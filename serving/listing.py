"""The list of runs: as old clients ask for it, and with a filter, an order and values."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

import msgspec
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from serving.conditional import answer, to_etag
from switchyard.clients.connect import Outside
from switchyard.core.comparison.filter import parse_fields, parse_filter
from switchyard.core.comparison.found import RunQuery, with_deleted
from switchyard.core.comparison.order import Order, from_cursor, parse_order, to_cursor

MAX_ID: Final = 2**63 - 1
"""The largest id that both databases can be asked for."""
LIST_PATH: Final = "/api/quick-tests/"
JSON: Final = "application/json"
_OLD: Final = frozenset({"limit", "before"})

_Filter = Annotated[
    str | None,
    Query(
        description="which runs: `metrics.<name>`, `best.<name>`, `params.<name>`, `tags.<name>`, `status`, "
        "`experiment`, `name`, `id`, `created_at`, `duration_s`; `= != < <= > >= LIKE IN`, `and or not`, parentheses",
        examples=["metrics.test_recall_at_10 > 0.08 and params.optimizer = 'adam'"],
    ),
]
_OrderBy = Annotated[
    str | None,
    Query(
        description="a field and `asc` or `desc` (the default); runs with the same value by id, runs without one last",
        examples=["best.val_loss asc"],
    ),
]
_Experiment = Annotated[str | None, Query(description="only runs of exactly this experiment; empty: of any")]
_Fields = Annotated[
    str | None,
    Query(
        description="values to show of each run, between commas; `params.*` is every param",
        examples=["metrics.test_recall_at_10,best.val_loss,params.*"],
    ),
]
_Archived = Annotated[
    Literal["false", "true", "any"] | None, Query(description="true: only archived runs; any: these too")
]
_After = Annotated[str | None, Query(description="the place that the page begins after, from `next`")]


class Listing:
    """The endpoint over one wiring, called in a worker thread."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def list_runs(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200, description="runs a page")] = 50,
        before: Annotated[int | None, Query(ge=1, le=MAX_ID, description="only runs with a smaller id")] = None,
        filter: _Filter = None,  # noqa: A002 - its name in the address
        order_by: _OrderBy = None,
        experiment: _Experiment = None,
        fields: _Fields = None,
        archived: _Archived = None,
        after: _After = None,
    ) -> Response:
        """The runs, newest first or as asked; `next` is the address of the next page, with all that was asked."""
        if _OLD.issuperset(request.query_params):
            return self._list_newest(request, limit, before)
        order = parse_order(order_by) if order_by and not order_by.isspace() else Order()
        query = RunQuery(
            limit=limit,
            filter=parse_filter(filter or "", any_status=bool(self.outside.settings.results_table)),
            order=order,
            experiment=experiment or None,
            fields=parse_fields(fields or "", of="fields"),
            archived={"true": "only", "any": "any"}.get(archived or "", "no"),  # type: ignore[arg-type]  # they are
            before_id=before,
            after=None if after is None else from_cursor(after, order),
        )
        page = self.outside.runs.find_runs(query)
        following = None
        if page.following is not None:
            asked = {name: value for name, value in request.query_params.items() if name not in ("limit", "after")}
            following = _to_address(limit=limit, **asked, after=to_cursor(page.following, order))
        runs = with_deleted(page.runs, self.outside.followed.find_deleted([run.id for run in page.runs]))
        return _answer(request, {"items": runs, "next": following})

    def _list_newest(self, request: Request, limit: int, before: int | None) -> Response:
        runs = self.outside.runs.list_runs(limit=limit + 1, before_id=before)
        following = _to_address(limit=limit, before=runs[limit - 1].id) if len(runs) > limit else None
        return _answer(request, {"items": runs[:limit], "next": following})


def _to_address(**asked: Any) -> str:
    return f"{LIST_PATH}?{urlencode(asked)}"


def _answer(request: Request, found: Any) -> Response:
    content = msgspec.json.encode(found)
    return answer(request, content, to_etag(content), media_type=JSON)
