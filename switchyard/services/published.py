"""Reads what is published from a results database, in the words of the API: `core.ports.Published` without a server."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.core.comparison.compared import choose_ids, compare
from switchyard.core.comparison.filter import parse_fields, parse_filter
from switchyard.core.comparison.found import Archived, RunQuery
from switchyard.core.comparison.order import Order, parse_order
from switchyard.core.history.publication import FullSeries
from switchyard.core.history.stored_series import to_stored_series
from switchyard.core.ports import Histories

NOT_PUBLISHED: Final = b'{"available":false}'
_ARCHIVED: Final[Mapping[str, Archived]] = {"true": "only", "any": "any"}


def find_series(histories: Histories, quick_test_id: int) -> FullSeries | None:
    """Returns a run's stored series, else the points of its history. None: nothing is published."""
    found = histories.read_series(quick_test_id)
    if found is None:
        stored = histories.read_history(quick_test_id).history_json
        found = to_stored_series(stored) if stored is not None else None
    return found


class DatabasePublished:
    """Implements the port over the ports of one wiring."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def read_history(self, quick_test_id: int) -> bytes:
        """Returns the stored bytes as they are."""
        return self._outside.histories.read_history(quick_test_id).history_json or NOT_PUBLISHED

    def read_series(self, quick_test_id: int) -> bytes:
        """Returns what `find_series` finds, as JSON."""
        found = find_series(self._outside.histories, quick_test_id)
        return gzip.decompress(found.gzip_json) if found is not None else NOT_PUBLISHED

    def find_runs(self, question: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Yields the runs, a page for each query, each from where the last one ended."""
        asked = question.get("order_by", "")
        query = RunQuery(
            limit=int(question["limit"]),
            filter=parse_filter(question.get("filter", ""), any_status=bool(self._outside.settings.results_table)),
            order=parse_order(asked) if asked.strip() else Order(),
            experiment=question.get("experiment") or None,
            fields=parse_fields(question.get("fields", ""), of="fields"),
            archived=_ARCHIVED.get(question.get("archived", ""), "no"),
        )
        while True:
            page = self._outside.runs.find_runs(query)
            yield from msgspec.to_builtins(page.runs)
            if page.following is None:
                return
            query = msgspec.structs.replace(query, after=page.following)

    def compare(self, ids: Sequence[int]) -> bytes:
        """See the port. Makes two queries."""
        chosen = choose_ids(ids)
        return msgspec.json.encode(compare(chosen, self._outside.histories.read_compared(chosen)))
