"""Turns texts to numbers as Keras' old ``Tokenizer`` did, from the JSON that its ``to_json`` writes.

The class itself is not a public part of Keras 3, and a pickle of it is not read.

Source: keras/src/legacy/preprocessing/text.py and keras/src/utils/sequence_utils.py, 3.15.1.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

MAX_BYTES: Final = 200_000_000
MAX_LENGTH: Final = 100_000
Side = Literal["pre", "post"]


class TextOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tokenizer's JSON does not say: the arguments of `pad_sequences` in the training."""

    column: str = "text"  # what an instance calls its text
    padding: Side = "pre"  # where zeros are put before or after a text that is too short
    truncating: Side = "pre"  # where a text that is too long loses words
    length: Annotated[int, msgspec.Meta(ge=1, le=MAX_LENGTH)] | None = (
        None  # `maxlen`; None: what the model's input says
    )


class Tokenizer(msgspec.Struct, frozen=True, kw_only=True):
    """How a text becomes words, and which number each word has."""

    word_index: Mapping[str, int]
    filters: str
    split: str
    lower: bool
    char_level: bool
    num_words: int | None  # numbers from here on are left out
    oov_token: str | None  # the word that stands for each unknown one; None: they are left out

    @property
    def largest(self) -> int:
        """The largest number that a text may become; 0 is the padding."""
        largest = max(self.word_index.values(), default=0)
        return min(largest, self.num_words - 1) if self.num_words else largest


_Number = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    word_index: str  # JSON in JSON
    filters: str = ""
    split: str = " "
    lower: bool = True
    char_level: bool = False
    num_words: Annotated[int, msgspec.Meta(ge=1)] | None = None
    oov_token: str | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True):
    class_name: Literal["Tokenizer"]
    config: _Config


def read_tokenizer(data: bytes) -> Tokenizer:
    """Returns what `Tokenizer.to_json` wrote; a text that was written as JSON once more is read too.

    Raises: ValueError: it is not a tokenizer, and why.
    """
    said: Any = msgspec.json.decode(data)
    if isinstance(said, str):
        said = msgspec.json.decode(said)
    config = msgspec.convert(said, _File).config
    words: dict[str, int] = msgspec.json.decode(config.word_index, type=dict[str, _Number])
    if not config.split:
        raise ValueError("`config.split` must be a text that stands between words; it is empty")
    if config.oov_token is not None and config.oov_token not in words:
        raise ValueError(f"`config.word_index` must have the word of `config.oov_token`, {config.oov_token[:40]!r}")
    return Tokenizer(
        word_index=words,
        filters=config.filters,
        split=config.split,
        lower=config.lower,
        char_level=config.char_level,
        num_words=config.num_words,
        oov_token=config.oov_token,
    )


def to_numbers(text: str, by: Tokenizer) -> list[int]:
    """Returns what `texts_to_sequences` makes of one text."""
    if by.lower:
        text = text.lower()
    words: Any = text
    if not by.char_level:
        text = text.translate({ord(character): by.split for character in by.filters})
        words = [word for word in text.split(by.split) if word]
    unknown = None if by.oov_token is None else by.word_index[by.oov_token]
    numbers = []
    for word in words:
        number = by.word_index.get(word, unknown)
        if number is not None and by.num_words and number >= by.num_words:
            number = unknown
        if number is not None:
            numbers.append(number)
    return numbers


def pad(numbers: list[int], length: int, options: TextOptions) -> list[int]:
    """Returns what `pad_sequences` makes of one of them.

    >>> pad([1, 2, 3], 5, TextOptions())
    [0, 0, 1, 2, 3]
    >>> pad([1, 2, 3], 2, TextOptions(truncating="post"))
    [1, 2]
    """
    kept = numbers[:length] if options.truncating == "post" else numbers[max(0, len(numbers) - length) :]
    zeros = [0] * (length - len(kept))
    return kept + zeros if options.padding == "post" else zeros + kept
