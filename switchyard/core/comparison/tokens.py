"""The words of a filter, each with its place; anything else is refused with the place of its first character."""

import re
from typing import Final, Literal

import msgspec

from switchyard.core.errors import BadRequest

TokenKind = Literal["word", "name", "text", "number", "operator", "punctuation", "end"]

MAX_CHARACTERS: Final = 20_000
"""The most characters of a filter: more than an address may have."""
_SHOWN: Final = 30
"""Characters of the filter that an error shows on each side of the place."""
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<word>[^\W\d][\w./@:-]*)
    |(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<name>`(?:[^`]|``)*`)
    |(?P<operator><=|>=|!=|<>|==|=|<|>)
    |(?P<punctuation>[(),*])""",
    re.VERBOSE | re.ASCII,
)
_WORD: Final = re.compile(r"[^\W\d][\w./@:-]*")
_QUOTES: Final = {"'": "a text", '"': "a text", "`": "a name"}


class BadFilter(BadRequest):
    """A text that is not in the grammar.

    `position` is the place of the character that does not fit, from 0, in the parameter `of`.
    """

    def __init__(self, what: str, text: str, position: int, *, of: str = "filter") -> None:
        self.position = position
        self.of = of
        super().__init__(f"`{of}`, character {position + 1}: {what}\n{_point_at(text, position)}")


class Token(msgspec.Struct, frozen=True):
    """One word; `value` is without its quotes. For a number it is the text as typed."""

    kind: TokenKind
    value: str
    position: int


def to_tokens(text: str, *, of: str = "filter") -> list[Token]:
    """Returns all tokens of the text, the end too.

    Raises: BadFilter: there is something that is not a token.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadFilter(f"at most {MAX_CHARACTERS} characters; got {len(text)}", text, MAX_CHARACTERS, of=of)
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        # \w of other alphabets: names are people's own. Digits are those of ASCII alone.
        word = _WORD.match(text, position) if match is None or match.lastgroup == "word" else None
        if word is not None:
            found.append(Token("word", word[0], position))
            position = word.end()
            continue
        if match is None:
            raise BadFilter(_why_none(text[position]), text, position, of=of)
        kind, value = match.lastgroup, match[0]
        if kind in ("text", "name"):
            value = value[1:-1].replace(value[0] * 2, value[0])
        if kind != "space":
            found.append(Token(kind, value, position))  # type: ignore[arg-type]  # the groups are the kinds
        position = match.end()
    found.append(Token("end", "", len(text)))
    return found


def _why_none(character: str) -> str:
    if character in _QUOTES:
        return f"{_QUOTES[character]} begins here and does not end; close it with {character}"
    if character.isspace():
        return "a space that is not ASCII; write a plain one"
    return f"{_to_shown(character)!r} has no meaning here; put a text into quotes, and an odd name into backticks"


def _point_at(text: str, position: int) -> str:
    """Returns two lines: the part of the filter around the place, and a caret below it."""
    start, end = max(0, position - _SHOWN), min(len(text), position + _SHOWN)
    before = ("..." if start else "") + _to_shown(text[start:position])
    after = _to_shown(text[position:end]) + ("..." if end < len(text) else "")
    return f"  {before}{after}\n  {' ' * len(before)}^"


def _to_shown(text: str) -> str:
    """Returns the text in one line, as JSON takes it."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
