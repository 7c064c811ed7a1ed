"""Patterns of LIKE: ``%`` is any characters, ``_`` is one, and a backslash before either (or itself) takes it as it is.

Upper and lower case differ, on every database.
"""

from typing import Final

import msgspec

_ANY: Final = "%"
_ONE: Final = "_"
_LAST: Final = 0x10FFFF
_SURROGATES: Final = (0xD800, 0xDFFF)


class Part(msgspec.Struct, frozen=True):
    """Characters as they are, or one of the two wildcards."""

    text: str
    is_wildcard: bool = False


def to_parts(pattern: str) -> list[Part]:
    r"""Returns the pattern in parts; a backslash before anything else is a backslash.

    >>> [part.text for part in to_parts(r"a\%b%")]
    ['a%b', '%']
    """
    found: list[Part] = []
    literal = ""
    characters = iter(range(len(pattern)))
    for at in characters:
        character, after = pattern[at], pattern[at + 1 : at + 2]
        if character == "\\" and after in (_ANY, _ONE, "\\") and after:
            literal += after
            next(characters)
        elif character in (_ANY, _ONE):
            found += [Part(literal)] if literal else []
            literal = ""
            found.append(Part(character, is_wildcard=True))
        else:
            literal += character
    return found + ([Part(literal)] if literal else [])


def to_sql_like(pattern: str) -> str:
    """Returns the pattern for SQL's LIKE with a backslash as its escape."""
    return "".join(part.text if part.is_wildcard else _escape(part.text) for part in to_parts(pattern))


def to_glob(pattern: str) -> str:
    """Returns the pattern for SQLite's GLOB, which alone tells upper case from lower.

    Source: https://www.sqlite.org/lang_expr.html#glob
    """
    wildcards = {_ANY: "*", _ONE: "?"}
    return "".join(
        wildcards[part.text] if part.is_wildcard else "".join(f"[{c}]" if c in "*?[" else c for c in part.text)
        for part in to_parts(pattern)
    )


def find_prefix(pattern: str) -> str:
    """Returns what every text begins with that the pattern is of; empty if it begins with a wildcard."""
    first = next(iter(to_parts(pattern)), Part(""))
    return "" if first.is_wildcard else first.text


def find_end(prefix: str) -> str | None:
    """Returns the first text, by bytes of UTF-8, that comes after all that begin with `prefix`; None: there is none.

    >>> find_end("ab"), find_end("a\U0010ffff"), find_end("\U0010ffff") is None
    ('ac', 'b', True)
    """
    while prefix:
        following = ord(prefix[-1]) + 1
        if following == _SURROGATES[0]:  # which UTF-8 has not
            following = _SURROGATES[1] + 1
        if following <= _LAST:
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None


def _escape(text: str) -> str:
    for special in ("\\", _ANY, _ONE):
        text = text.replace(special, "\\" + special)
    return text
