"""JSON paths and pointers: how a place inside a record is named, in messages, in `unknown` and in `non_finite`."""

import re
from functools import lru_cache
from typing import Any

_PLAIN = re.compile(r'[^.\[\]"\\]+')


def to_path(*names: str) -> str:
    """Returns the path of a value in a metrics file, such as ``loss.val_loss``.

    A name with a dot, a bracket or a quote is in brackets (``metrics["a.b"]``), so that two different places never
    share a path.

    >>> to_path("metrics", "val/recall at 10"), to_path("metrics", "a.b")
    ('metrics.val/recall at 10', 'metrics["a.b"]')
    """
    path = ""
    for name in names:
        path = to_child(path, name)
    return path


@lru_cache(maxsize=4096)  # runs have the same names, and each of them stands in several places
def to_child(path: str, name: str) -> str:
    """Returns the path of a child, which is ``to_path(*names, name)`` where `path` is ``to_path(*names)``.

    >>> to_child("metrics", "a.b")
    'metrics["a.b"]'
    """
    if name.isidentifier() or _PLAIN.fullmatch(name):  # most are identifiers, which is asked faster
        return f"{path}.{name}" if path else name
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{quoted}"]'


def to_names(path: str) -> list[str]:
    """Returns the names that `to_path` made `path` of. Raises: ValueError: it made no such path."""
    names = []
    rest = path
    while rest:
        if match := re.match(r'\["((?:[^"\\]|\\["\\])*)"\]', rest, re.DOTALL):
            names.append(re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL))
        elif match := re.match(r"\.?([^.\[\]\"\\]+)", rest, re.DOTALL):
            names.append(match[1])
        else:
            break
        rest = rest[match.end() :]
    if to_path(*names) != path:
        raise ValueError(f'a JSON path like run.host or metrics["a.b"] was expected; got {path!r}')
    return names


def to_pointer(*keys: str | int) -> str:
    """Returns the JSON Pointer of a place inside one value; empty for the value itself. Source: RFC 6901, section 3."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def find_place(value: Any, pointer: str) -> Any:
    """Finds what stands at `pointer` inside `value`. Raises: LookupError: nothing does.

    Source: RFC 6901, section 4.
    """
    if pointer and not pointer.startswith("/"):
        raise LookupError(pointer)
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[key]
        elif isinstance(value, list):
            value = value[to_index(key, len(value))]
        else:
            raise LookupError(pointer)  # noqa: TRY004 - a place is missing; no caller passed a wrong type
    return value


def to_index(text: str, length: int) -> int:
    """Returns the position that `text` writes as JSON would.

    Raises: LookupError: it is not a position in a list of `length`.
    """
    if text.isascii() and text.isdigit() and len(text) <= len(str(length)) and str(int(text)) == text:
        index = int(text)
        if index < length:
            return index
    raise LookupError(text)
