"""JSON that people or programs send us: what a decoder would let pass in silence is refused."""

import json
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def decode_strictly(data: bytes, type_: type[T]) -> T:
    """Returns `data` as `type_`. Its structs say themselves which keys they refuse.

    Raises:
        ValueError: no JSON, a key that stands twice in one object, a bare NaN or Infinity, a lone surrogate, or another
            shape than `type_` (`msgspec.ValidationError`, with the JSON path).
    """
    try:
        text = data.decode()
        plain = json.loads(text, object_pairs_hook=_to_object, parse_constant=_refuse_constant)
        json.dumps(plain, ensure_ascii=False).encode()  # a lone surrogate is not text that can be stored or sent
    except UnicodeDecodeError as err:
        raise ValueError("it is not UTF-8") from err
    except UnicodeEncodeError as err:
        raise ValueError("it holds half of a surrogate pair") from err
    except json.JSONDecodeError as err:
        raise ValueError(f"it is not JSON: {err.msg} (line {err.lineno}, column {err.colno})") from err
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    return msgspec.convert(plain, type_)


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} is twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
