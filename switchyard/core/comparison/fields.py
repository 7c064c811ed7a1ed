"""What a run can be found, ordered and shown by, and which comparisons each takes."""

import difflib
import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from switchyard.core.runs.rows import RunStatus

Section = Literal["metrics", "best", "params", "tags"]
"""The kinds of a run's values (`switchyard_values`), by what people call them."""
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "LIKE", "NOT LIKE", "IN", "NOT IN"]
ConstantType = Literal["number", "whole number", "text", "time"]

SECTIONS: Final[tuple[Section, ...]] = get_args(Section)
KINDS: Final[Mapping[Section, tuple[str, ...]]] = {
    "metrics": ("final", "last"),  # a final value goes before the last one of a series of the same name
    "best": ("best",),
    "params": ("param",),
    "tags": ("tag",),
}
"""The kinds of stored values that a section has, the first that is there."""
EQUAL: Final[tuple[Operator, ...]] = ("=", "!=", "IN", "NOT IN")
_RANGE: Final[tuple[Operator, ...]] = ("<", "<=", ">", ">=")
_LIKE: Final[tuple[Operator, ...]] = ("LIKE", "NOT LIKE")
_NUMBER: Final[Mapping[ConstantType, tuple[Operator, ...]]] = {"number": EQUAL + _RANGE}
_TEXT: Final[Mapping[ConstantType, tuple[Operator, ...]]] = {"text": EQUAL + _LIKE}

OPERATORS: Final[Mapping[str, Mapping[ConstantType, tuple[Operator, ...]]]] = {
    "metrics": _NUMBER,
    "best": _NUMBER,
    "params": {**_NUMBER, **_TEXT},  # a text that is a number is both
    "tags": {**_NUMBER, **_TEXT},
    "status": _TEXT,
    "experiment": _TEXT,
    "name": _TEXT,
    "id": {"whole number": EQUAL + _RANGE},
    "created_at": {"time": EQUAL + _RANGE},
    "duration_s": _NUMBER,
}
"""The constants that a section or column is compared with, and the operators."""
COLUMNS: Final[tuple[str, ...]] = tuple(name for name in OPERATORS if name not in SECTIONS)
FOREIGN_COLUMNS: Final = ("id", "status")
"""The columns that an application's own table of runs has too."""
MAX_NAME: Final = 250
"""Characters of a value's name, as `core.history.values` stores it."""

_BARE: Final = re.compile(r"[^\W\d][\w./@:-]*")
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "like"})


class Field(msgspec.Struct, frozen=True):
    """``metrics.val_loss`` or ``created_at``: the section is empty for a column of the run itself."""

    section: Section | Literal[""]
    name: str

    @property
    def operators(self) -> Mapping[ConstantType, tuple[Operator, ...]]:
        """Which constants it is compared with, and how."""
        return OPERATORS[self.section or self.name]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of stored values that the field names; empty for a column."""
        return KINDS[self.section] if self.section else ()

    def __str__(self) -> str:
        """Returns the field as a filter has it.

        >>> str(Field("metrics", "val_loss")), str(Field("params", "the `odd` one"))
        ('metrics.val_loss', 'params.`the ``odd`` one`')
        """
        if not self.section:
            return self.name
        if _BARE.fullmatch(self.name):
            return f"{self.section}.{self.name}"
        return f"{self.section}.`{self.name.replace('`', '``')}`"


ID: Final = Field("", "id")
STATUS: Final = Field("", "status")
STATUSES: Final = tuple(status.value for status in RunStatus)
"""The statuses that a run of our own table can have."""


def suggest(word: str) -> str:
    """Returns a sentence that names what was probably meant, and all that may stand there."""
    known = [*(f"{section}.<name>" for section in SECTIONS), *COLUMNS]
    near = difflib.get_close_matches(word.lower()[:40], [*SECTIONS, *COLUMNS], n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"must be one of {', '.join(known)}{meant}"


def suggest_status(word: str) -> str:
    """Returns a sentence that names every status, and the one that was probably meant.

    >>> suggest_status("Failed")
    'must be one of pending, submitted, running, completed, failed, cancelled; did you mean failed?'
    """
    near = difflib.get_close_matches(word.lower()[:40], STATUSES, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"must be one of {', '.join(STATUSES)}{meant}"


def is_keyword(word: str) -> bool:
    """Returns True for a word of the grammar, in any case."""
    return word.lower() in _KEYWORDS
