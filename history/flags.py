"""Command-line flags from a msgspec Struct, and back, so that a setting's name, help and limits stand in one place."""

import argparse
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from history.errors import BadRequest

T = TypeVar("T", bound=msgspec.Struct)


def to_flag(name: str) -> str:
    """``batch_size`` -> ``--batch-size``."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, struct: type[msgspec.Struct], *, title: str = "") -> None:
    """Adds one flag a field of `struct`, all optional here: `read_flags` says what is missing or out of range."""
    group = parser.add_argument_group(title) if title else parser
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        plain, description = _describe(hints[field.name])
        default = "" if field.required else f" (default: {_shown(field.default)})"
        if plain is bool:
            group.add_argument(
                to_flag(field.name),
                dest=field.name,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=description + default,
            )
            continue
        choices = get_args(plain) if get_origin(plain) is Literal else None
        group.add_argument(
            to_flag(field.name),
            dest=field.name,
            choices=choices,
            type=_number if plain in (int, float) else str,
            metavar=None if choices else field.name.split("_")[-1].upper(),
            default=argparse.SUPPRESS,
            help=(description + default).replace("%", "%%"),
        )


def read_flags(values: Mapping[str, Any], struct: type[T]) -> T:
    """The `struct` that the parsed flags say; fields without a flag keep their defaults.

    Raises:
        BadRequest: a value is of the wrong type, out of range, missing, or contradicts another.
    """
    known = {field.name for field in msgspec.structs.fields(struct)}
    given = {name: value for name, value in values.items() if name in known}
    try:
        return msgspec.convert(given, struct, strict=False)
    except msgspec.ValidationError as err:
        message = str(err)
        for name in known:
            message = message.replace(f"`$.{name}`", f"`{to_flag(name)}`")
        raise BadRequest(f"{message}; see --help") from err


def to_flags(value: msgspec.Struct) -> list[str]:
    """The flags that `read_flags` turns back into `value`: ``--name=value`` a field, booleans as ``--[no-]name``."""
    flags = []
    for name, item in msgspec.structs.asdict(value).items():
        if isinstance(item, bool):
            flags.append(to_flag(name) if item else to_flag("no_" + name))
        elif item is not None:
            flags.append(f"{to_flag(name)}={item if isinstance(item, str) else json.dumps(item)}")
    return flags


def _describe(hint: Any) -> tuple[Any, str]:
    """The type without its annotations, and the description among them."""
    if get_origin(hint) is not Annotated:
        return hint, ""
    plain, *notes = get_args(hint)
    for note in notes:
        description = getattr(note, "description", None)
        if description:
            return plain, str(description)
    return plain, ""


def _number(text: str) -> int | float | str:
    """``11`` -> 11, ``.5`` and ``1e-5`` -> floats; what is no number stays text, for `read_flags` to refuse by name."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _shown(default: Any) -> str:
    return "none" if default in ("", None) else str(default)
