"""A team's own rules for the names of its metrics: exact names and patterns, in TOML that travels with the run.

    [names]
    "train/total" = "total_loss"

    [[patterns]]
    match = "valid/*"
    name = "val_{1}"

Patterns are not regular expressions: ``*`` stands for any characters, as few as will do, and ``{1}`` in the name for
what the first one stood for. So each is tried in one pass over the key, whatever the pattern.

An empty text says nothing of rules: those that a run was published by go on (`core.history.asked_rules`). The word
``none``, which is not TOML, is the way to say that there are to be none.
"""

import re
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from switchyard.core.errors import BadRequest
from switchyard.core.mlflow.keys import BIN_KEYS

NONE: Final = "none"
"""What is given, and stored, where a run that had rules is to have none."""
MAX_TEXT: Final = 64 * 1024
MAX_NAMES: Final = 1_000
MAX_PATTERNS: Final = 100
MAX_STARS: Final = 9
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_REGULAR: Final = re.compile(r"[()\\\[\]^$+]")
_BINS: Final = sorted(BIN_KEYS)


class Pattern(msgspec.Struct, frozen=True):
    """One pattern: the texts between its stars, and the name with its places."""

    parts: tuple[str, ...]
    name: str

    def find(self, key: str) -> str | None:
        """Returns the name of `key`; None: the pattern is not its."""
        first, *middle, last = self.parts
        if not key.startswith(first) or not key.endswith(last) or len(key) < len(first) + len(last):
            return None
        end = len(key) - len(last)
        found, at = [], len(first)
        for part in middle:
            next_at = key.find(part, at, end)
            if next_at < 0:
                return None
            found.append(key[at:next_at])
            at = next_at + len(part)
        found.append(key[at:end])
        return _PLACE.sub(lambda place: found[int(place[1]) - 1], self.name)


class Rules(msgspec.Struct, frozen=True):
    """A team's rules, and the text that they were read from."""

    names: dict[str, str] = {}
    patterns: tuple[Pattern, ...] = ()
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.names or self.patterns)

    def find(self, key: str) -> tuple[int, str] | None:
        """Returns the place of the rule that names `key`, the first one first, and the name; None: no rule does."""
        if key in BIN_KEYS:
            return None
        if key in self.names:
            return 0, self.names[key]
        for place, pattern in enumerate(self.patterns, start=1):
            name = pattern.find(key)
            if name is not None:
                return place, name
        return None


NO_RULES: Final = Rules()


@lru_cache(maxsize=16)
def parse_rules(text: str) -> Rules:
    """Returns the rules that `text` says; none of an empty one, and of `NONE`.

    Raises:
        BadRequest: it says none, with the line or the place in it; all problems at once.
    """
    if text.strip() in ("", NONE):
        return NO_RULES
    if len(text) > MAX_TEXT:
        raise BadRequest(f"the rules have {len(text):,} characters; at most {MAX_TEXT:,} are read")
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise BadRequest(f"the rules are not TOML: {err}. docs/mapping.md shows [names] and [[patterns]]") from err
    problems: list[str] = []
    if other := sorted(found.keys() - {"names", "patterns"}):
        problems.append(f"only [names] and [[patterns]] are known; got {', '.join(map(repr, other))}")
    rules = Rules(
        _read_names(found.get("names", {}), problems), _read_patterns(found.get("patterns", []), problems), text
    )
    if problems:
        raise BadRequest(f"rules: {'; '.join(problems)}")
    return rules


def _read_names(found: Any, problems: list[str]) -> dict[str, str]:
    if not isinstance(found, dict):
        problems.append('[names] must be a table of texts, such as "train/total" = "total_loss"')
        return {}
    if len(found) > MAX_NAMES:
        problems.append(f"[names] must have at most {MAX_NAMES:,} entries; got {len(found):,}")
        return {}
    for key, name in found.items():
        where = f"names.{key!r}"
        if not isinstance(name, str):
            problems.append(f'{where} must be a text in quotes; a key with dots needs quotes too ("a.b" = "c")')
        elif not name:
            problems.append(f"{where} must be a name; got an empty text")
        elif key in BIN_KEYS:
            problems.append(f"{where}: a histogram's bins cannot be renamed")
        elif name in BIN_KEYS:
            problems.append(f"{where}: {name!r} is the name of a histogram's bin")
    return found


def _read_patterns(found: Any, problems: list[str]) -> tuple[Pattern, ...]:
    if not isinstance(found, list):
        problems.append("[[patterns]] must be written in double brackets, once for each pattern")
        return ()
    if len(found) > MAX_PATTERNS:
        problems.append(f"there must be at most {MAX_PATTERNS} [[patterns]]; got {len(found)}")
        return ()
    return tuple(filter(None, (_read_pattern(item, f"patterns[{i}]", problems) for i, item in enumerate(found, 1))))


def _read_pattern(found: Any, where: str, problems: list[str]) -> Pattern | None:
    if not isinstance(found, dict) or found.keys() != {"match", "name"}:
        problems.append(f"{where} must have `match` and `name`, and nothing else")
        return None
    match, name = found["match"], found["name"]
    if not isinstance(match, str) or not isinstance(name, str) or not name:
        problems.append(f"{where}: `match` and `name` must be texts, and `name` not empty")
        return None
    if _REGULAR.search(match):
        problems.append(
            f"{where}.match must be plain text and `*`; got {match!r}, which looks like a regular expression: "
            "write `*` for `(.*)`, and an entry of [names] for a key with such characters"
        )
        return None
    parts = tuple(match.split("*"))
    if not 1 <= len(parts) - 1 <= MAX_STARS:
        problems.append(f"{where}.match must have 1 to {MAX_STARS} `*`; got {match!r}; [names] is for a whole key")
        return None
    if wrong := _list_wrong(name, len(parts) - 1):
        problems.append(
            f"{where}.name: {', '.join(wrong)} must be one of {{1}} to {{{len(parts) - 1}}}, one for each `*`"
        )
        return None
    pattern = Pattern(parts, name)
    caught = next((key for key in _BINS if pattern.find(key) is not None), "")
    if caught:
        problems.append(f"{where}.match: {match!r} also catches the histogram's bin {caught!r}; say more of the key")
        return None
    return pattern


def _list_wrong(name: str, stars: int) -> Sequence[str]:
    places = {str(place) for place in range(1, stars + 1)}
    return [found[0] for found in _PLACE.finditer(name) if found[1] not in places]
