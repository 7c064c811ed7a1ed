"""The page of the list of runs: a leaderboard. Its address holds all of its state."""

from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from serving.conditional import Packable, answer_packable
from serving.lists.asked import NAMES, Asked, read_asked
from serving.lists.columns import DEFAULT, KNOWN, read_columns
from serving.lists.found import find, to_question
from serving.lists.metric import to_metric
from serving.lists.table import NAME, STATUS, Table, to_table
from serving.parameters import refuse_others
from serving.rendering import Page, render, with_forms
from switchyard.clients.connect import Outside
from switchyard.core.comparison.compared import MAX_RUNS
from switchyard.core.comparison.order import Order
from switchyard.core.comparison.tokens import BadFilter
from switchyard.core.errors import BadRequest
from switchyard.core.history.best import find_direction

_ORDERS: Final = {
    "": "the newest first",
    "created_at asc": "the oldest first",
    "best.val_loss asc": "the lowest best val_loss first",
    "duration_s desc": "the longest first",
    "name asc": "by name",
}


class Wrong(msgspec.Struct, frozen=True):
    """Why nothing is found; where it is a text of the form, which, and at which character (from 0)."""

    said: str
    field: str = ""
    position: int | None = None


class RunsPage:
    """The endpoint over one wiring; called in a worker thread, because the ports block."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def list_runs(self, request: Request) -> Response:
        """Lists the runs as the address asks; what is wrong with a filter is said beside it (422)."""
        refuse_others(request, NAMES, repeated=True)
        asked = read_asked(request.query_params)
        try:
            columns = read_columns(asked.columns)
            question = to_question(asked, columns, any_status=bool(self.outside.settings.results_table))
            found = find(self.outside, question)
        except BadRequest as err:
            page = with_forms(_refuse(asked, err))
            return Response(page.content, HTTPStatus.UNPROCESSABLE_ENTITY, page.headers, media_type="text/html")
        table = to_table(question, found)
        following = asked.to_next(found.following) if found.following else ""
        page = with_forms(
            render(
                "runs.html",
                **_common(asked, columns, question.order),
                table=table,
                orders=_to_orders(asked, table),
                following=following,
                is_narrow=found.is_narrow,
                followed=next(iter(self.outside.followed.list_stores()), None),
                wrong=None,
            )
        )
        return answer_packable(request, Packable.of(page.content), media_type="text/html", headers=page.headers)


def _common(asked: Asked, columns: tuple[str, ...], order: Order) -> dict[str, Any]:
    return {
        "asked": asked,
        "order": order,
        "name": NAME,
        "status": STATUS,
        "known": KNOWN,
        "chosen": columns or DEFAULT,
        "most": MAX_RUNS,
    }


def _refuse(asked: Asked, err: BadRequest) -> Page:
    """Shows the form with what is wrong in it, and no runs."""
    wrong = Wrong(str(err), err.of, err.position) if isinstance(err, BadFilter) else Wrong(str(err))
    orders = _ORDERS | ({asked.order_by: asked.order_by} if asked.order_by not in _ORDERS else {})
    common = _common(asked, (), Order())
    return render(
        "runs.html", **common, table=None, orders=orders, following="", is_narrow=False, followed=None, wrong=wrong
    )


def _to_orders(asked: Asked, table: Table) -> dict[str, str]:
    """Returns the orders that a form offers: the usual ones, by the metric, and the one of now."""
    way, word = ("asc", "lowest") if find_direction(table.metric) == "min" else ("desc", "highest")
    first = {f"{to_metric(table.metric)} {way}": f"the {word} {table.metric} first"}
    orders = first | _ORDERS
    return orders if asked.order_by in orders else {**orders, asked.order_by: asked.order_by}
