"""The part of Google's filter languages that we use: comparisons joined by AND. Anything else is refused.

Source: https://cloud.google.com/logging/docs/view/logging-query-language, https://cloud.google.com/monitoring/api/v3/filters
"""

import operator
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.emulators.google.refusing import Refused

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Clause:
    """One comparison."""

    name: str
    comparison: str
    value: str


def read_clauses(text: str, names: Collection[str]) -> list[Clause]:
    """The comparisons of a filter. Raises Refused."""
    clauses = []
    for part in re.split(r"\s+AND\s+", text.strip()):
        found = re.fullmatch(r'([A-Za-z_.]+)\s*(>=|<=|=|<|>)\s*"((?:[^"\\]|\\.)*)"', part)
        if not found or found[1] not in names:
            raise Refused(400, f"Unparseable filter: {part!r}")
        clauses.append(Clause(found[1], found[2], re.sub(r"\\(.)", r"\1", found[3])))
    return clauses


def check(clause: Clause, values: dict[str, Any]) -> bool:
    """Whether what is named holds. A field that is not there never does."""
    held = values.get(clause.name)
    if held is None:
        return False
    return _COMPARISONS[clause.comparison](
        held, datetime.fromisoformat(clause.value) if isinstance(held, datetime) else clause.value
    )
