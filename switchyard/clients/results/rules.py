"""Reads the rules that runs had for their series' names: those published, and those in their jobs' parameters."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Row, Select, and_, select

from switchyard.clients.results.tables import Tables
from switchyard.core.errors import catch
from switchyard.core.history.asked_rules import NO_KEPT_RULES, KeptRules


class _Asked(msgspec.Struct):
    rules: str = ""


def select_rules(tables: Tables, ids: Sequence[int]) -> tuple[Select[Any], Select[Any]]:
    """Returns the queries behind `core.ports.Histories.read_rules`."""
    published, jobs = tables.published, tables.jobs
    # Nearly all jobs' parameters name no rules: those are neither sent nor read.
    names_some = and_(jobs.c.parameters.like('%"rules":"%'), jobs.c.parameters.not_like('%"rules":""%'))
    return (
        select(published.c.quick_test_id, published.c.rank_attempt, published.c.rules).where(
            published.c.quick_test_id.in_(ids), published.c.rules != ""
        ),
        select(jobs.c.quick_test_id, jobs.c.attempt, jobs.c.parameters)
        .where(jobs.c.quick_test_id.in_(ids), names_some)
        .order_by(jobs.c.attempt),
    )


def to_kept_rules(published: Sequence[Row[Any]], asked: Sequence[Row[Any]]) -> dict[int, KeptRules]:
    """Reads the rows of both. Parameters that cannot be read name none: an error says so where they are needed."""
    found = {row.quick_test_id: KeptRules(published=row.rules, published_attempt=row.rank_attempt) for row in published}
    for row in asked:
        said = catch(partial(msgspec.json.decode, row.parameters, type=_Asked))
        if isinstance(said, _Asked) and said.rules:
            kept = found.get(row.quick_test_id, NO_KEPT_RULES)
            found[row.quick_test_id] = msgspec.structs.replace(kept, asked=said.rules, asked_attempt=row.attempt)
    return found
