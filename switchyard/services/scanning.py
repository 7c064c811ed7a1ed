"""Scans a team's own files for what still names MLflow. It edits nothing."""

from pathlib import Path

import msgspec

from switchyard.clients.source_files import SourceFiles
from switchyard.core.decommission.scanning import MAX_BYTES, LeftOut, Mention, find_mentions, is_binary, is_prose
from switchyard.core.errors import NotFound, SwitchyardError


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan found."""

    where: str
    files: int  # that were read
    mentions: list[Mention]
    prose: list[str]  # files for people that name MLflow too; they do not count as mentions
    left_out: list[LeftOut]


def scan(path: Path) -> Scanned:
    """Returns everything in `path` that names MLflow, by file and line, and the files that could not be read.

    A second call reads again.

    Raises:
        NotFound: nothing is there. BadSetup, TryAgain: it cannot be listed.
    """
    source = SourceFiles(path)
    mentions: list[Mention] = []
    prose: list[str] = []
    left_out: list[LeftOut] = []
    read = 0
    for file, obstacle in source.list():
        reason = obstacle
        try:
            data = None if obstacle else source.read(file, MAX_BYTES)
        except NotFound:
            continue  # it was deleted meanwhile
        except SwitchyardError as err:
            data, reason = None, str(err)
        if data is not None and is_binary(data):
            data, reason = None, "no text"
        if data is None:
            left_out.append(LeftOut(file=_to_text(file), reason=reason or f"larger than {MAX_BYTES:,} bytes"))
            continue
        read += 1
        found = find_mentions(_to_text(file), data)
        if found and is_prose(file):
            prose.append(_to_text(file))
        else:
            mentions += found
    return Scanned(where=source.where, files=read, mentions=mentions, prose=prose, left_out=left_out)


def _to_text(name: str) -> str:
    """Escapes a file's name that is not Unicode, or would be shown as two lines."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
