"""A flow's answer on a terminal, field by field. Imports no Prefect."""

import sys

import msgspec
from rich.console import Console


def to_console(*, stderr: bool) -> Console:
    """The console that a person reads: stdout, or stderr where stdout has the result of ``--json``."""
    return Console(file=sys.stderr if stderr else sys.stdout)


def print_fields(result: msgspec.Struct, console: Console) -> None:
    """A line a field: its name, and its value in words."""
    for name, value in msgspec.to_builtins(result).items():
        console.print(f"{name.replace('_', ' ')}: {_say(value)}", highlight=False, markup=False)


def _say(value: object) -> object:
    """Yes or no of what is true or not; a number as it is, 0 too; none of what is empty."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if value or isinstance(value, int | float) else "none"
