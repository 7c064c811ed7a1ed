"""Fetches many runs' rows so that one that cannot be fetched hides no other."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Select

from switchyard.clients.results.engine import Database
from switchyard.core.errors import BadSetup, TryAgain, catch

T = TypeVar("T")


def fetch_each(
    database: Database,
    query: Select[Any],
    id_column: ColumnElement[int],
    to_value: Callable[[Row[Any]], T],
    to_unread: Callable[[int, Exception], T],
    **values: object,
) -> list[T]:
    """Returns `to_value` of each row of `query`, which is one query as long as all can be fetched.

    One value that is not of its column's type (SQLite stores any in any) spoils the fetch of all rows. Then the ids are
    asked for, and the row is found by halves; what `to_unread` makes of its id and the error stands in its place.

    Args:
        id_column: the runs' ids, in `query`.
        values: the parameters of `query`.

    Raises:
        TryAgain, BadSetup: the database does not answer, or not us.
    """
    rows = catch(lambda: database.rows(query, **values))
    if not isinstance(rows, Exception):
        return [to_value(row) for row in rows]
    if isinstance(rows, TryAgain | BadSetup):
        raise rows
    ids = [int(row[0]) for row in database.rows(query.with_only_columns(id_column), **values)]

    def fetch(some: list[int]) -> list[T]:
        found = catch(lambda: database.rows(query.where(id_column.in_(some)), **values))
        if not isinstance(found, Exception):
            return [to_value(row) for row in found]
        if isinstance(found, TryAgain | BadSetup):
            raise found
        if len(some) == 1:
            return [to_unread(some[0], found)]
        half = len(some) // 2
        return fetch(some[:half]) + fetch(some[half:])

    return fetch(ids) if ids else []
