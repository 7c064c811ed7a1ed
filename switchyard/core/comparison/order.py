"""The order of a list of runs, and the place in it that a page begins after."""

import base64
import binascii
import math
from typing import Final

import msgspec

from switchyard.core.comparison.fields import ID, Field
from switchyard.core.comparison.filter import parse_field_and_way
from switchyard.core.errors import BadRequest

Key = tuple[int, float | str | None, int]
"""A run's place: the rank of what it is ordered by (0 a number, 1 a text, 2 nothing), that, and its id."""

NUMBER: Final = 0
TEXT: Final = 1
NOTHING: Final = 2


class Order(msgspec.Struct, frozen=True):
    """Orders runs by `field`.

    Runs with the same value are ordered by id, the same way round. Runs without the field come last, the newest first,
    whichever way.
    """

    field: Field = ID
    descending: bool = True

    def __str__(self) -> str:
        return f"{self.field} {'desc' if self.descending else 'asc'}"

    @property
    def ranks(self) -> tuple[int, ...]:
        """The kinds of values, one after the other. A param or tag that is a number and a text is a number."""
        if self.field.section in ("params", "tags"):
            return (TEXT, NUMBER, NOTHING) if self.descending else (NUMBER, TEXT, NOTHING)
        if self.field.section or self.field.name == "duration_s":
            return (NUMBER, NOTHING)
        return (TEXT,) if self.field.name in ("name", "experiment", "status", "created_at") else (NUMBER,)


def parse_order(text: str) -> Order:
    """Returns ``metrics.val_loss asc``; without a way: descending. Raises: BadRequest.

    >>> str(parse_order("best.val_loss ASC")), str(parse_order("created_at"))
    ('best.val_loss asc', 'created_at desc')
    """
    field, way = parse_field_and_way(text, of="order_by")
    return Order(field, descending=way != "asc")


def sort_keys(keys: list[Key], order: Order) -> list[Key]:
    """Sorts keys into this order."""
    found: list[Key] = []
    for rank in order.ranks:
        some = [key for key in keys if key[0] == rank]
        some.sort(key=_to_sortable, reverse=order.descending or rank == NOTHING)
        found += some
    return found


def _to_sortable(key: Key) -> tuple[float | bytes, int]:
    value = key[1]
    # As the databases order texts: by their bytes.
    return (value.encode("utf-8", "replace") if isinstance(value, str) else value or 0.0, key[2])


def take_after(keys: list[Key], after: Key | None, order: Order) -> list[Key]:
    """Returns those that come after a place, of keys in order; the place itself need not be among them (any more)."""
    if after is None:
        return keys
    together = sort_keys([*(key for key in keys if key != after), after], order)
    return together[together.index(after) + 1 :]


def to_cursor(key: Key, order: Order) -> str:
    """Returns the place as a text for an address."""
    packed = msgspec.json.encode([str(order), *key])
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_cursor(text: str, order: Order) -> Key:
    """Returns the place that `to_cursor` named. Raises: BadRequest: it is not a place, or one of another order."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        said, rank, value, id_ = msgspec.json.decode(packed, type=tuple[str, int, float | str | None, int])
    except (ValueError, binascii.Error, msgspec.DecodeError) as err:
        raise BadRequest("`after` is no place in this list. Take it unchanged from `next` of the page before") from err
    fits = {NUMBER: isinstance(value, float), TEXT: isinstance(value, str), NOTHING: value is None}
    if said != str(order) or rank not in order.ranks or not fits[rank] or not 0 <= id_ < 2**63:
        raise BadRequest(
            f"`after` is the place in a list that is ordered by {said[:300]}; this one is ordered by {order}. Begin "
            "with the first page"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest("`after` is no place in this list. Take it unchanged from `next` of the page before")
    return rank, value, id_
