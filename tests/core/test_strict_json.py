"""JSON that is read strictly."""

from typing import Any

import msgspec
import pytest

from switchyard.core.strict_json import decode_strictly


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    """Anything with one key."""

    name: str = ""


def test_what_is_json_is_read() -> None:
    """Into the struct that is asked for."""
    assert decode_strictly('{"name": "größe"}'.encode(), Shape) == Shape(name="größe")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"name": "a", "name": "b"}', "'name' is twice in one object"),
        (b'{"other": 1}', "unknown field `other`"),
        (b'{"name": NaN}', "NaN is not JSON"),
        (b'{"name": "\\ud800"}', "surrogate"),
        (b"\xff", "not UTF-8"),
        (b"", "not JSON"),
        (b'{"name": "a"} x', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"name": 1}', r"\$.name"),
    ],
)
def test_what_a_decoder_would_let_pass_is_refused(data: bytes, said: str) -> None:
    """Each in words that say where."""
    with pytest.raises(ValueError, match=said):
        decode_strictly(data, Shape)


def test_a_key_may_stand_in_several_objects() -> None:
    """Only one object has it twice at most."""
    found: Any = decode_strictly(b'[{"a": 1}, {"a": 1}]', list[dict[str, int]])
    assert found == [{"a": 1}, {"a": 1}]
