"""What a page of the list of runs is made of: three questions to the database, whatever the number of runs."""

from collections.abc import Mapping

import msgspec

from serving.lists.asked import Asked
from serving.lists.columns import BEST_LOSS, CURVE, DEFAULT, DIFFERING, METRIC, find_baselines, list_fields
from serving.lists.metric import USUAL, to_metric
from switchyard.clients.connect import Outside
from switchyard.core.comparison.fields import Field
from switchyard.core.comparison.filter import parse_filter
from switchyard.core.comparison.found import ALL_NAMES, FoundRun, RunQuery, with_deleted
from switchyard.core.comparison.order import Order, from_cursor, parse_order, to_cursor
from switchyard.core.comparison.outline import Drawn, Outline, read_outline
from switchyard.core.errors import BadRequest


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, as it was understood."""

    asked: Asked
    columns: tuple[str, ...]
    order: Order
    query: RunQuery  # with every value that may be shown
    narrow: RunQuery  # with those alone that were named


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of the page, what is drawn of each, and the place that the next page begins after (empty: none)."""

    runs: list[FoundRun]
    outlines: Mapping[int, Outline]
    drawn: Mapping[int, Drawn]
    following: str = ""
    is_narrow: bool = False  # the runs have too many values to look through them all


def to_question(asked: Asked, columns: tuple[str, ...], *, any_status: bool = False) -> Question:
    """Returns the question to the database for what a page was asked.

    Raises: BadRequest: the filter, the order or the place is not in the grammar.
    """
    order = parse_order(asked.order_by) if asked.order_by else Order()
    chosen = columns or DEFAULT
    metric = asked.metric or USUAL
    named = [to_metric(metric), *map(to_metric, find_baselines(metric)), BEST_LOSS, *list_fields(chosen)]
    named += [order.field] if order.field.section else []
    every = [Field("metrics", ALL_NAMES)] if METRIC in chosen and not asked.metric else []
    every += [Field("params", ALL_NAMES)] if DIFFERING in chosen else []
    narrow = RunQuery(
        limit=asked.limit,
        filter=parse_filter(asked.filter, any_status=any_status),
        order=order,
        experiment=asked.experiment or None,
        fields=tuple(dict.fromkeys(named)),
        archived={"true": "only", "any": "any"}.get(asked.archived, "no"),  # type: ignore[arg-type]  # they are
        before_id=asked.before,
        after=from_cursor(asked.after, order) if asked.after else None,
    )
    query = msgspec.structs.replace(narrow, fields=tuple(dict.fromkeys([*every, *named])))
    return Question(asked=asked, columns=columns, order=order, query=query, narrow=narrow)


def find(outside: Outside, question: Question) -> Found:
    """Finds the runs of the page. Raises: BadRequest: the runs' table lacks what was asked for."""
    is_narrow = False
    try:
        page = outside.runs.find_runs(question.query)
    except BadRequest:
        # Fifty runs of thousands of metrics each; or a request that is refused again, in its own words.
        page = outside.runs.find_runs(question.narrow)
        is_narrow = question.query != question.narrow
    # Also where no curve is shown: the notes, and a run's parent, come with it.
    outlines = outside.histories.read_outlines([run.id for run in page.runs])
    chosen = question.columns or DEFAULT
    needed = CURVE in chosen or question.asked.group == "parent"
    return Found(
        runs=with_deleted(page.runs, outside.followed.find_deleted([run.id for run in page.runs])),
        outlines=outlines,
        drawn={id_: read_outline(one.history_json) for id_, one in outlines.items()} if needed else {},
        following=to_cursor(page.following, question.order) if page.following is not None else "",
        is_narrow=is_narrow,
    )
