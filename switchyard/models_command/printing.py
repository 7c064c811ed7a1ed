"""Prints the answers of `switchyard models` for a person.

What people wrote is shown and never obeyed: no markup, no control characters.
"""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from switchyard.core.registry.rows import Transition
from switchyard.core.registry.stages import Act
from switchyard.models_command.answers import (
    Aliased,
    Changed,
    History,
    InProduction,
    ModelList,
    VersionLine,
    VersionList,
    VersionShown,
)

_DIGEST_SHOWN = len("sha256:") + 12
_PIPED_WIDTH = 200
"""Columns if no one says how many there are: a program that reads lines wants them whole."""

Answer = ModelList | VersionList | VersionShown | History | InProduction | Changed | Aliased


def print_answer(answer: Answer, out: TextIO) -> None:
    """Prints the answer to `out`."""
    is_piped = not out.isatty() and "COLUMNS" not in os.environ
    console = Console(file=out, width=_PIPED_WIDTH if is_piped else None, markup=False, highlight=False)
    match answer:
        case ModelList():
            _print_models(answer, console)
        case VersionList():
            _print_versions(answer, console)
        case VersionShown():
            _print_version(answer, console)
        case History():
            _say(console, f"model {answer.name}, times in UTC")
            console.print(_to_timeline(answer.transitions))
        case InProduction():
            found = "no version" if answer.version is None else f"version {answer.version}"
            _say(console, f"{found} of model {answer.name} was in Production at {_to_time(answer.at)} UTC")
        case Changed():
            _say(console, say_change(answer))
        case Aliased(version=None):
            _say(console, f"@{answer.alias} names no version of model {answer.name}")
        case Aliased():
            _say(console, f"@{answer.alias} names version {answer.version} of model {answer.name}")


def say_change(changed: Changed) -> str:
    """Says in a sentence what was done, and where the version stands now."""
    outcome, name = changed.outcome, f"version {changed.outcome.version} of model {changed.outcome.name}"
    share = "" if changed.share is None else f", with {to_percent(changed.share)} of the traffic"
    if outcome.act is None:
        if changed.is_tombstoned:
            return f"Nothing was changed: {name} is tombstoned already."
        more = f"switchyard models share '{outcome.name}' {outcome.version} <share>"
        hint = "" if changed.share is None else f" For another share: {more}"
        return f"Nothing was changed: {name} is in {changed.stage} already{share}.{hint}"
    if outcome.act is Act.TOMBSTONED:
        return f"{name} is tombstoned: it stays listed, and never answers again."
    replaced = "" if outcome.replaced is None else f"; it replaced version {outcome.replaced}"
    return f"{name} is in {changed.stage}{share}{replaced}. See: switchyard models history '{outcome.name}'"


def to_percent(share: float) -> str:
    """Returns the share as a percentage, without needless zeros.

    >>> to_percent(0.05), to_percent(0.125), to_percent(0.0)
    ('5 %', '12.5 %', '0 %')
    """
    return f"{share * 100:g} %"


def _print_models(answer: ModelList, console: Console) -> None:
    if not answer.models:
        _say(console, "There are no models. To make one of a run: switchyard register <run> --name <model>")
        return
    rows = [
        [
            model.name,
            _or_none(model.production),
            _or_none(model.previous),
            "none" if model.challenger is None else f"{model.challenger} ({to_percent(model.share)})",
            str(model.last_number),
            _to_aliases([f"{alias}={version}" for alias, version in model.aliases.items() if not _is_kept(alias)]),
        ]
        for model in answer.models
    ]
    console.print(_to_table(["model", "champion", "before it", "challenger", "highest version", "aliases"], rows))


def _print_versions(answer: VersionList, console: Console) -> None:
    _say(console, f"model {answer.name}, times in UTC")
    columns = ["version", "stage", "validation", "digest", "run", "made", "by", "aliases", "description"]
    console.print(_to_table(columns, [_to_row(line) for line in answer.versions]))


def _to_row(line: VersionLine) -> list[str]:
    stage = line.stage if line.share is None else f"{line.stage} ({to_percent(line.share)})"
    return [
        str(line.version),
        "tombstoned" if line.tombstoned_at else stage,
        _to_validation(line),
        line.digest[:_DIGEST_SHOWN],
        "" if line.quick_test_id is None else str(line.quick_test_id),
        _to_time(line.created_at),
        line.created_by,
        _to_aliases(line.aliases),
        line.description,
    ]


def _print_version(answer: VersionShown, console: Console) -> None:
    line, lineage = answer.line, answer.lineage
    known = {
        "stage": line.stage if line.share is None else f"{line.stage}, with {to_percent(line.share)} of the traffic",
        "tombstoned": "" if line.tombstoned_at is None else f"{_to_time(line.tombstoned_at)} UTC",
        "aliases": _to_aliases(line.aliases),
        "description": line.description,
        "made": f"{_to_time(line.created_at)} UTC" + (f" by {line.created_by}" if line.created_by else ""),
        "digest": line.digest,
        "files": f"{len(answer.files):,} of {answer.size_bytes:,} bytes, in {answer.source_uri}",
        "source": answer.source_key,
        "run": "" if lineage.quick_test_id is None else f"quick test {lineage.quick_test_id}",
        "data": lineage.data_uri,
        "trainer": lineage.image,
        "code": lineage.code_version,
        "parameters": json.dumps(lineage.parameters, sort_keys=True) if lineage.parameters else "",
        "validation": _to_validation(line),
        "evidence": json.dumps(answer.evidence, sort_keys=True) if answer.evidence else "",
    }
    _say(console, f"version {line.version} of model {answer.name}")
    for what, said in known.items():
        if said:
            _say(console, f"  {what:<12}{said}")
    files = [[file.path, f"{file.size_bytes:,}", file.sha256] for file in answer.files]
    console.print(_to_table(["file", "bytes", "sha256"], files))
    console.print(_to_timeline(answer.history))


def _to_timeline(lines: Sequence[Transition]) -> Table:
    rows = [
        [
            str(line.seq),
            _to_time(line.at),
            str(line.version),
            f"{line.act}{', forced' if line.forced else ''}",
            f"{line.from_stage} -> {line.to_stage}" if line.from_stage is not line.to_stage else str(line.to_stage),
            "" if line.share is None else to_percent(line.share),
            "" if line.replaced is None else str(line.replaced),
            line.by,
            line.reason,
        ]
        for line in lines
    ]
    return _to_table(["", "when", "version", "what", "stage", "share", "replaced", "by", "why"], rows)


def _to_table(columns: list[str], rows: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")  # a digest that is cut short names nothing
    for row in rows:
        table.add_row(*(Text(_to_printable(cell)) for cell in row))
    return table


def _say(console: Console, text: str) -> None:
    console.print(Text(_to_printable(text)), soft_wrap=True)


def _to_printable(text: str) -> str:
    """Returns the text with an escape for each character that is not printable.

    A terminal obeys control characters, and those that turn the direction of writing can mislead a reader.
    """
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)


def _to_validation(line: VersionLine) -> str:
    return line.validation if line.against is None else f"{line.validation} against {line.against}"


def _to_aliases(aliases: Sequence[str]) -> str:
    return ", ".join(f"@{alias}" for alias in aliases)


def _is_kept(alias: str) -> bool:
    return alias in ("champion", "challenger")


def _or_none(version: int | None) -> str:
    return "none" if version is None else str(version)


def _to_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
