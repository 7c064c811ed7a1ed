"""What the address of the list of runs asks for, and the addresses of lists that differ from it in one thing."""

from typing import Any, Final, Literal
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams

from switchyard.core.errors import BadRequest

PATH: Final = "/quick-tests/"
RUNS_A_PAGE: Final = 50
MOST_RUNS: Final = 200
MAX_ID: Final = 2**63 - 1
_MOST_BACK: Final = 12
_MOST_BACK_CHARACTERS: Final = 3_000
"""The most characters of the places of pages before this one, which the address keeps: a browser and a proxy take some
8,000."""
_MOST_SELECTED: Final = 200

Archived = Literal["", "any", "true"]
Group = Literal["", "experiment", "parent"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Each field by its name in the address; what is at its default is left out there."""

    filter: str = ""
    order_by: str = ""
    experiment: str = ""
    archived: Archived = ""
    metric: str = ""
    columns: tuple[str, ...] = ()  # as `serving.lists.columns` reads them; empty: those of its own choice
    group: Group = ""
    limit: int = RUNS_A_PAGE
    selected: tuple[int, ...] = ()
    before: int | None = None
    after: str = ""
    back: tuple[str, ...] = ()  # the places that the pages before this one began after, the last one last

    def to_address(self, **changes: Any) -> str:
        """Returns the address of this list with `changes`."""
        pairs = msgspec.structs.replace(self, **changes).to_pairs()
        return f"{PATH}?{urlencode(pairs)}" if pairs else PATH

    def to_pairs(self, *, without: str = "") -> list[tuple[str, str]]:
        """Returns names and values of the address, also for a form's hidden fields; names in `without` are left out."""
        found: list[tuple[str, str]] = []
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if value == field.default or field.name in without.split():
                continue
            if field.name == "selected":
                found.append(("selected", ",".join(map(str, value))))
            elif isinstance(value, tuple):
                found += [(field.name, part) for part in value]
            else:
                found.append((field.name, str(value)))
        return found

    def to_first(self, **changes: Any) -> str:
        """Returns the address of the first page of the list with `changes`."""
        return self.to_address(**changes, after="", back=(), before=None)

    def to_next(self, after: str) -> str:
        """Returns the address of the page after this one."""
        back = [*self.back, self.after]
        while len(back) > _MOST_BACK or sum(map(len, back)) > _MOST_BACK_CHARACTERS:
            back.pop(0)
        return self.to_address(after=after, back=tuple(back))

    @property
    def previous(self) -> str:
        """The address of the page before this one; empty where it is not known."""
        return self.to_address(after=self.back[-1], back=self.back[:-1]) if self.back else ""

    @property
    def is_first(self) -> bool:
        """True if no page is before this one."""
        return not self.after and self.before is None

    @property
    def is_narrowed(self) -> bool:
        """Whether runs are left out on purpose."""
        return bool(self.filter or self.experiment or self.archived == "true")


NAMES: Final = Asked.__struct_fields__


def read_asked(query: QueryParams) -> Asked:
    """Reads what a list is asked for from its address.

    Raises: BadRequest: a parameter is unknown or wrong.
    """
    return Asked(
        filter=query.get("filter", "").strip(),
        order_by=query.get("order_by", "").strip(),
        experiment=query.get("experiment", ""),
        archived=_one_of(query, "archived", ("", "any", "true")),  # type: ignore[arg-type]  # it is one of these
        metric=query.get("metric", "").strip().removeprefix("metrics."),
        columns=tuple(part for part in query.getlist("columns") if part.strip()),
        group=_one_of(query, "group", ("", "experiment", "parent")),  # type: ignore[arg-type]  # it is one of these
        limit=_whole(query, "limit", MOST_RUNS) or RUNS_A_PAGE,
        selected=_read_selected(query.getlist("selected")),
        before=_whole(query, "before", MAX_ID),
        after=query.get("after", ""),
        back=tuple(query.getlist("back")[-_MOST_BACK:]),
    )


def _one_of(query: QueryParams, name: str, known: tuple[str, ...]) -> str:
    value = query.get(name, "")
    if value not in known:
        raise BadRequest(f"`{name}` must be one of {', '.join(filter(None, known))}, or empty; got {value[:40]!r}")
    return value


def _whole(query: QueryParams, name: str, most: int) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
    if not 1 <= number <= most:
        raise BadRequest(f"`{name}` must be a whole number from 1 to {most}; got {text[:40]!r}")
    return number


def _read_selected(given: list[str]) -> tuple[int, ...]:
    """Reads each id once, in their order; a text that is no id is left out, because it selects nothing."""
    parts = [part.strip() for text in given for part in text.split(",", _MOST_SELECTED)]
    ids = [int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) < 20]
    return tuple(dict.fromkeys(id_ for id_ in ids if 1 <= id_ <= MAX_ID))[:_MOST_SELECTED]
