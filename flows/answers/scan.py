"""What `decommission scan` answers, and how it is shown."""

from collections import Counter
from collections.abc import Iterable

import msgspec
from rich.console import Console

from switchyard.core.decommission.scanning import INSTEAD, LeftOut, Mention, What

_SHOWN = 20


class ScanLine(msgspec.Struct, frozen=True, kw_only=True):
    """A place that names MLflow, and what to do about it."""

    file: str
    line: int
    cell: int  # of a notebook; 0: it is not in a notebook
    what: What
    found: str
    instead: str


class ScanResult(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found, and what was not looked at."""

    where: str
    files: int
    mentions: list[ScanLine]
    prose: list[str]
    left_out: list[LeftOut]


def to_scan_result(
    where: str, files: int, mentions: Iterable[Mention], prose: list[str], left_out: list[LeftOut]
) -> ScanResult:
    """Returns the mentions that were found, with what to do about each."""
    lines = [
        ScanLine(file=one.file, line=one.line, cell=one.cell, what=one.what, found=one.found, instead=one.instead)
        for one in mentions
    ]
    return ScanResult(where=where, files=files, mentions=lines, prose=prose, left_out=left_out)


def print_scan(result: ScanResult, console: Console) -> None:
    """Prints a line for each mention, then what to do about each kind, and what was not looked at."""
    kinds = Counter(one.what for one in result.mentions)
    lines = [f"{_say_place(one)}: {one.what}: {one.found}" for one in result.mentions]
    if kinds:
        lines += ["", *(f"{what} ({kinds[what]:,}): {INSTEAD[what]}" for what in What if kinds[what]), ""]
    named = len({one.file for one in result.mentions})
    lines.append(
        f"{len(result.mentions):,} mentions of MLflow in {named:,} of {result.files:,} files of {result.where}"
    )
    if result.prose:
        lines.append(f"also named in text for people: {_cut(result.prose)}")
    if result.left_out:
        lines.append(f"not looked at: {_cut([f'{one.file} ({one.reason})' for one in result.left_out])}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _say_place(one: ScanLine) -> str:
    return f"{one.file}, cell {one.cell}, line {one.line}" if one.cell else f"{one.file}:{one.line}"


def _cut(said: list[str]) -> str:
    more = len(said) - _SHOWN
    return ", ".join(said[:_SHOWN]) + (f", and {more:,} more; --json shows all" if more > 0 else "")
