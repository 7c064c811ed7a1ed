"""What a value in a metrics file must be.

Every check that fails leaves one sentence, so that a reader of the error sees all that is wrong at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import Meta

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import HISTOGRAM_BINS, Series

T = TypeVar("T")

MAX_PROBLEMS = 100
_POSITIONS_SHOWN = 3
_TEXT_SHOWN = 60

Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Step = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
CountRow = Annotated[list[Whole | None], Meta(min_length=HISTOGRAM_BINS, max_length=HISTOGRAM_BINS)]


class Checks:
    """The problems and warnings found so far in one file.

    Args:
        where: what is read, for the error.
        aliases: the names that the file uses where they differ from version 1's, by version 1's path.
    """

    def __init__(self, where: str, aliases: Mapping[str, str] | None = None) -> None:
        self.where = where
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.kept_items = 0  # of what was kept without being judged
        self._aliases = {} if aliases is None else aliases  # the caller may fill it later

    def path(self, *names: str) -> str:
        """Returns the place as the file names it."""
        path = to_path(*names)
        return self._aliases.get(path, path)

    def refuse(self, path: str, expected: str, received: str) -> None:
        """Leaves one problem: ``path`` must `expected`; got `received`."""
        self.problems.append(f"`{path}` must {expected}; got {received}")

    def warn(self, path: str, said: str) -> None:
        """Leaves one warning about ``path``."""
        self.warnings.append(f"`{path}` {said}")

    def raise_problems(self) -> None:
        """Raises BadRecord if there are problems: the first MAX_PROBLEMS of them, and how many more."""
        if not self.problems:
            return
        more = len(self.problems) - MAX_PROBLEMS
        raise BadRecord(self.where, self.problems[:MAX_PROBLEMS] + ([f"and {more} problems more"] if more > 0 else []))

    def convert(self, value: Any, kind: type[T] | Any, path: str, expected: str) -> T | None:
        """Returns `value` as `kind`, or None and a problem."""
        try:
            found: T = msgspec.convert(value, kind)
        except msgspec.ValidationError:
            self.refuse(path, expected, describe(value))
            return None
        return found

    def literal(self, found: Mapping[str, Any], name: str, kind: Any, *names: str) -> Any:
        """Returns ``found[name]``, one of the texts that `kind` lists; None if it is not there."""
        if name not in found:
            return None
        return self.convert(found[name], kind, self.path(*names, name), f"be {list_names(get_args(kind))}")

    def series(self, value: Any, path: str, length: int | None) -> Series:
        """Returns a list of numbers and nulls; `length` values if that is known."""
        found: Series = self._items(
            value, path, list[float | None], "be an array of numbers and nulls", _number_problem
        )
        if length is not None and isinstance(value, list) and len(value) != length:
            self.refuse(path, f"have {length} values, one an epoch", str(len(value)))
        return found

    def series_map(self, value: Any, names: Sequence[str], length: int | None) -> dict[str, Series]:
        """Reads an object of series."""
        if not isinstance(value, dict):
            self.refuse(self.path(*names), "be an object of arrays", describe(value))
            return {}
        try:  # one call for all: a run has 130 series and the whole ingest 10 ms
            found = msgspec.convert(value, dict[str, Series])
        except msgspec.ValidationError:
            return {name: self.series(series, self.path(*names, name), length) for name, series in value.items()}
        if length is not None:
            for name, series in found.items():
                if len(series) != length:
                    expected = f"have {length} values, one an epoch"
                    self.refuse(self.path(*names, name), expected, str(len(series)))
        return found

    def integers(self, value: Any, path: str, kind: Any, each: str) -> list[int]:
        """Returns a list of integers of `kind`, `each` in words."""
        problem = _kind_problem(kind, f"be {each}")
        found: list[int] = self._items(value, path, list[kind], "be an array of integers", problem)
        return found

    def numbers(self, value: Any, path: str) -> list[float]:
        """Returns a list of numbers, without nulls."""
        problem = _kind_problem(float, "be a number")
        found: list[float] = self._items(value, path, list[float], "be an array of numbers", problem)
        return found

    def count_rows(self, value: Any, path: str, length: int | None) -> list[list[int | None] | None]:
        """Returns a list of rows of HISTOGRAM_BINS counts, [epochs, 25]; a row may be null."""
        kind = list[CountRow | None]
        found: list[list[int | None] | None] = self._items(
            value, path, kind, "be an array of rows, one an epoch", _row_problem
        )
        if length is not None and isinstance(value, list) and len(value) != length:
            self.refuse(path, f"have {length} rows, one an epoch", str(len(value)))
        return found

    def _items(
        self, value: Any, path: str, kind: Any, expected: str, problem: Callable[[Any], tuple[str, str, str] | None]
    ) -> Any:
        """Returns `value` as the list type `kind`.

        If it is not one, the problem names the first bad positions, and how many more there are.
        """
        if not isinstance(value, list):
            self.refuse(path, expected, describe(value))
            return []
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as err:
            bad = [(i, found) for i, item in enumerate(value) if (found := problem(item))]
            if not bad:  # the two checks must agree; if they ever do not, the file is refused all the same
                self.problems.append(f"`{path}`: {err}")
        for position, (suffix, wanted, received) in bad[:_POSITIONS_SHOWN]:
            self.refuse(f"{path}[{position}]{suffix}", wanted, received)
        if len(bad) > _POSITIONS_SHOWN:
            self.problems.append(f"`{path}` has {len(bad) - _POSITIONS_SHOWN} more such values")
        return []


def describe(value: Any) -> str:
    """Returns a JSON value in a few words; never its whole content, which may be large or deep."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the text "{_shorten(value)}"'
    if isinstance(value, int | float):
        return _shorten(str(value))
    return f"an array of {len(value)}" if isinstance(value, list) else "an object"


def list_names(names: Iterable[str]) -> str:
    """Returns the names in words: ``a, b or c``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _shorten(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + "..."


def _is_valid(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _kind_problem(kind: Any, expected: str) -> Callable[[Any], tuple[str, str, str] | None]:
    return lambda item: None if _is_valid(item, kind) else ("", expected, describe(item))


_number_problem = _kind_problem(float | None, "be a number or null")


def _row_problem(row: Any) -> tuple[str, str, str] | None:
    """Returns what is wrong first with a row of counts."""
    if _is_valid(row, CountRow | None):
        return None
    if not isinstance(row, list):
        return "", f"be an array of {HISTOGRAM_BINS} counts, or null", describe(row)
    if len(row) != HISTOGRAM_BINS:
        return "", f"have {HISTOGRAM_BINS} counts", str(len(row))
    position = next((i for i, count in enumerate(row) if not _is_valid(count, Whole | None)), 0)
    return f"[{position}]", "be a count (an integer of at least 0) or null", describe(row[position])
