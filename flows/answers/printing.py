"""Prints a flow's answer on a terminal, field by field. Imports no Prefect."""

import sys

import msgspec
from rich.console import Console


def to_console(*, stderr: bool) -> Console:
    """Returns the console that a person reads: stdout, or stderr if stdout has the result of ``--json``."""
    return Console(file=sys.stderr if stderr else sys.stdout)


def print_fields(result: msgspec.Struct, console: Console) -> None:
    """Prints a line for each field: its name, and its value in words."""
    for name, value in msgspec.to_builtins(result).items():
        console.print(f"{name.replace('_', ' ')}: {_say(value)}", highlight=False, markup=False)


def _say(value: object) -> object:
    """Returns yes or no for true or false, a number as it is (0 too), and none for what is empty."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if value or isinstance(value, int | float) else "none"
