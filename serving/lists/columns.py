"""The columns of the list of runs: those of every run, and values that a reader chose by their fields."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from switchyard.core.comparison.fields import Field
from switchyard.core.comparison.filter import parse_field
from switchyard.core.comparison.order import Order
from switchyard.core.errors import BadRequest
from switchyard.core.history.best import find_direction

Way = Literal["asc", "desc"]

METRIC: Final = "metric"
DIFFERING: Final = "differing"
CURVE: Final = "curve"
EXPERIMENT, DURATION, CREATED = "experiment", "duration_s", "created_at"
BEST_LOSS: Final = Field("best", "val_loss")
KNOWN: Final = {
    METRIC: "the metric, and its ratio to the baseline",
    str(BEST_LOSS): "best val_loss",
    CURVE: "loss curve",
    EXPERIMENT: "experiment",
    DIFFERING: "parameters that differ",
    DURATION: "duration",
    CREATED: "created",
}
"""What may be chosen without naming a field, and how it is called."""
DEFAULT: Final = tuple(key for key in KNOWN if key != CREATED)
"""What fits into 1,280 pixels; the newest run is first anyway."""
MOST: Final = 30
"""Columns that a reader may choose."""
_PART: Final = re.compile(r"(?:`(?:[^`]|``)*`|[^,`])+")


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column; `field` is what its runs are ordered by when a reader asks for it."""

    key: str
    label: str
    title: str = ""  # in full, where the label is short
    field: Field | None = None
    baseline: Field | None = None
    numeric: bool = False

    @property
    def first_way(self) -> Way:
        """The way that a reader means who orders by this column."""
        if self.field is None:
            return "desc"
        if self.field.section in ("metrics", "best"):
            return "asc" if find_direction(self.field.name) == "min" else "desc"
        return "asc" if self.field.name in ("name", "status", EXPERIMENT) or self.field.section else "desc"

    def find_way(self, order: Order) -> Way | None:
        """Returns the way that `order` has the runs by this column; None if it is by another."""
        if self.field != order.field:
            return None
        return "desc" if order.descending else "asc"

    def to_order(self, order: Order) -> str:
        """Returns what to order by at the next press of the column's head."""
        now = self.find_way(order)
        way = self.first_way if now is None else "asc" if now == "desc" else "desc"
        return f"{self.field} {way}"


def read_columns(given: Iterable[str]) -> tuple[str, ...]:
    """Reads the columns that the address names, each once: of `KNOWN`, or a field. Raises: BadRequest."""
    found: dict[str, None] = {}
    for text in given:
        for part in (part.strip() for part in _PART.findall(text)):
            if not part or part in KNOWN:
                found |= {part: None} if part else {}
                continue
            field = parse_field(part, of="columns")
            if not field.section:
                raise BadRequest(
                    f"`columns`: {field} is not one to choose; take {', '.join(KNOWN)}, or a value: metrics.<name>, "
                    "best.<name>, params.<name>, tags.<name>"
                )
            found[str(field)] = None
    if len(found) > MOST:
        raise BadRequest(f"`columns` may name {MOST} at most; it names {len(found)}")
    return tuple(found)


def to_value_column(field: Field, *, numeric: bool = True) -> Column:
    """Returns the column that shows one value of each run."""
    label = f"best {field.name}" if field.section == "best" else field.name
    return Column(key=str(field), label=label, title=str(field), field=field, numeric=numeric)


def list_fields(keys: Sequence[str]) -> list[Field]:
    """Returns the values that the chosen columns show."""
    return [parse_field(key, of="columns") for key in keys if key not in KNOWN or key == str(BEST_LOSS)]


def find_baselines(metric: str) -> tuple[str, ...]:
    """Returns the names that a metric's baseline may have.

    >>> find_baselines("test_recall_at_10")
    ('popularity_recall_at_10', 'test_popularity_recall_at_10', 'baseline_test_recall_at_10')
    """
    bare = metric.removeprefix("test_")
    return f"popularity_{bare}", f"test_popularity_{bare}", f"baseline_{metric}"
