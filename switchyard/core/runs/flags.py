"""Command-line flags from a msgspec Struct, and back, so that a setting's name, help and limits stand in one place.

A field that is a Struct itself becomes one flag for each of its fields: ``machine.scheduling`` is
``--machine-scheduling``, and ``machine.machine_type`` is ``--machine-type``.
"""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from switchyard.core.errors import BadRequest

T = TypeVar("T", bound=msgspec.Struct)

_NOTHING: Final[Mapping[str, object]] = {}


class FlagParser(argparse.ArgumentParser):
    """A parser without abbreviations.

    It answers a wrong flag in two lines: the flag that was probably meant, and where all of them are listed.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False} | named)

    def parse_known_args(  # type: ignore[override]  # argparse's own is overloaded for namespaces of other types
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parses as argparse does, but ends the program at unknown flags, where the flags of a subcommand are known."""
        values, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._to_hint(unknown)}")
        return values, unknown

    def error(self, message: str) -> NoReturn:
        """Says what is wrong on stderr, without the list of all flags, and exits with 2."""
        sys.stderr.write(f"{self.prog}: error: {message}\nAll flags: {self.prog} --help\n")
        raise SystemExit(2)

    def _to_hint(self, unknown: list[str]) -> str:
        """Returns each close flag once, in the order of what was typed."""
        typed = [word.partition("=")[0].replace("_", "-") for word in unknown if word.startswith("-")]
        close = [difflib.get_close_matches(word, self._option_string_actions, n=1) for word in typed]
        meant = list(dict.fromkeys(flag for flags in close for flag in flags))
        return f". Did you mean {' '.join(meant)}?" if meant else ""


def to_groups(struct: type[msgspec.Struct]) -> dict[str, tuple[str, ...]]:
    """Returns the names of the fields of `struct` under the titles of its `GROUPS`, the most needed first.

    A field that no group names is in a last group, "more"; without `GROUPS` all are "parameters", in their own order.
    """
    names = struct.__struct_fields__
    groups: dict[str, tuple[str, ...]] = dict(getattr(struct, "GROUPS", {}))
    grouped = {name for group in groups.values() for name in group}
    left = tuple(name for name in names if name not in grouped)
    return groups | ({"more" if groups else "parameters": left} if left else {})


def to_flag(name: str) -> str:
    """Returns the flag of a field.

    ``batch_size`` becomes ``--batch-size``; ``machine.machine_type`` becomes ``--machine-type``.
    """
    outer, _, inner = name.rpartition(".")
    if outer:
        name = f"{outer}_{inner.removeprefix(outer + '_')}"
    return "--" + name.replace("_", "-")


def add_flags(
    parser: argparse.ArgumentParser,
    struct: type[msgspec.Struct],
    *,
    title: str = "",
    grouped: bool = False,
    unsaid: Mapping[str, object] = _NOTHING,
) -> None:
    """Adds one flag a field of `struct`, all optional here: `read_flags` says what is missing or out of range.

    They stand in `--help` under `title`, or `grouped`: under the titles of `to_groups`, and in that order. There
    `unsaid` has the defaults that are not the struct's own.
    """
    fields = list(_walk(struct, unsaid))
    if not grouped:
        _add_fields(parser.add_argument_group(title) if title else parser, fields)
        return
    for heading, names in to_groups(struct).items():
        _add_fields(
            parser.add_argument_group(heading), [field for name in names for field in fields if _is_of(field, name)]
        )


def _is_of(field: "_Field", name: str) -> bool:
    return field.name.partition(".")[0] == name


def _add_fields(group: argparse._ActionsContainer, fields: "list[_Field]") -> None:
    for field in fields:
        if field.plain in (bool, bool | None):
            group.add_argument(
                to_flag(field.name),
                dest=field.name,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=field.help,
            )
            continue
        if get_origin(field.plain) is tuple:
            inner = get_args(field.plain)[0]
            names = get_args(inner) if get_origin(inner) is Literal else None
            group.add_argument(
                to_flag(field.name),
                dest=field.name,
                action="append",
                choices=names,
                metavar=None if names else field.placeholder or "NAME",
                default=argparse.SUPPRESS,
                help=f"{field.help}; may be given again".replace("%", "%%"),
            )
            continue
        choices = get_args(field.plain) if get_origin(field.plain) is Literal else None
        group.add_argument(
            to_flag(field.name),
            dest=field.name,
            choices=choices,
            type=_number if field.plain in (int, float) else str,
            metavar=None if choices else _to_placeholder(field),
            default=argparse.SUPPRESS,
            help=field.help.replace("%", "%%"),
        )


def _to_placeholder(field: "_Field") -> str:
    if field.placeholder:
        return field.placeholder
    return "N" if field.plain is int else field.name.split("_")[-1].rpartition(".")[2].upper()


def read_flags(values: Mapping[str, Any], struct: type[T]) -> T:
    """Returns the `struct` that the parsed flags say; fields without a flag keep their defaults.

    Raises:
        BadRequest: a value is of the wrong type, out of range, missing, or contradicts another.
    """
    known = [field.name for field in _walk(struct)]
    given: dict[str, Any] = {}
    for name in known:
        if name in values:
            outer, _, inner = name.rpartition(".")
            (given.setdefault(outer, {}) if outer else given)[inner] = values[name]
    try:
        return msgspec.convert(given, struct, strict=False)
    except msgspec.ValidationError as err:
        message = str(err)
        for name in known:
            if f"`$.{name}`" in message:
                outer, _, inner = name.rpartition(".")
                received = (given.get(outer, {}) if outer else given).get(inner)
                message = message.replace(f"`$.{name}`", f"`{to_flag(name)}`") + f"; got {received!r}"
        message = re.sub(
            r"Object missing required field `(\w+)`", lambda found: f"{to_flag(found[1])} is needed", message
        )
        raise BadRequest(f"{message}; see --help") from err


def to_flags(value: msgspec.Struct, unsaid: Mapping[str, object] = _NOTHING) -> list[str]:
    """Returns the flags that `read_flags` turns back into `value`.

    A field is ``--name=value``, a boolean ``--[no-]name``.

    It gives only the fields that differ from their defaults, or from what `unsaid` says that the reader takes for a
    flag that is missing. A program of an older release, which has not all fields, then takes all that it needs to know
    (docs/decisions/0014-a-trainer-is-told-what-differs.md).
    """
    return list(_to_flags(value, "", unsaid=unsaid))


def _to_flags(
    value: msgspec.Struct, within: str, *, all_: bool = False, unsaid: Mapping[str, object] = _NOTHING
) -> Iterator[str]:
    for field in msgspec.structs.fields(value):
        item = getattr(value, field.name)
        if item == unsaid.get(field.name, _to_default(field)) and not all_:
            continue
        flag = to_flag(within + field.name)
        if isinstance(item, msgspec.Struct):
            inner = list(_to_flags(item, f"{field.name}."))
            # All at its own type's defaults, where this field's default is another: no flag would leave that one.
            yield from inner or _to_flags(item, f"{field.name}.", all_=True)
        elif isinstance(item, tuple):
            yield from (f"{flag}={part}" for part in item)
        elif isinstance(item, bool):
            yield flag if item else flag.replace("--", "--no-", 1)
        elif item is not None:
            yield f"{flag}={item if isinstance(item, str) else json.dumps(item)}"


def _to_default(field: msgspec.structs.FieldInfo) -> Any:
    """Returns the value of a field that no flag names; `msgspec.NODEFAULT`, which equals nothing, where one must."""
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


class _Field(msgspec.Struct):
    """One flag's worth of a Struct; `name` has the outer field's before a dot where it is nested."""

    name: str
    plain: Any
    help: str
    placeholder: str  # what `--help` shows in the value's place; empty: what the name and the type suggest


def _walk(struct: type[msgspec.Struct], unsaid: Mapping[str, object] = _NOTHING) -> Iterator[_Field]:
    """Yields the fields of `struct`, and those of the Structs among them in their place."""
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        plain, description, placeholder = _describe(hints[field.name])
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            for inner in _walk(plain):
                yield _Field(f"{field.name}.{inner.name}", inner.plain, inner.help, inner.placeholder)
            continue
        is_open = bool in get_args(plain)  # none of a bool is not a value: its description says what it means
        said = unsaid.get(field.name, field.default)
        default = "" if field.required or is_open else f" (default: {_shown(said)})"
        yield _Field(field.name, plain, description + default, placeholder)


def _describe(hint: Any) -> tuple[Any, str, str]:
    """Returns the type without its annotations; the description among them; and `extra`'s placeholder."""
    if get_origin(hint) is not Annotated:
        return hint, "", ""
    plain, *notes = get_args(hint)
    described = [note for note in notes if getattr(note, "description", None)]
    if not described:
        return plain, "", ""
    return plain, str(described[0].description), (described[0].extra or {}).get("placeholder", "")


def _number(text: str) -> int | float | str:
    """Returns 11 for ``11``, and floats for ``.5`` and ``1e-5``.

    Any other text stays text, so that `read_flags` can refuse it by name.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _shown(default: Any) -> str:
    return "none" if default in ("", None, ()) else str(default)
