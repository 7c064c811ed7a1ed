"""Reads the end of a training's log: its progress, and its last words."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from switchyard.clients.launchers.local.plain_files import StrangeFile, open_plain
from switchyard.clients.objects.file_uris import to_path
from switchyard.core.errors import BadRequest
from switchyard.core.runs.jobs import Progress

TAIL_BYTES = 64 * 1024
_LAST_LINES = 15
_LAST_CHARACTERS = 2_000


def read_tail(log: Path) -> str:
    """Returns the log's last 64 KiB; empty: there is no log yet, or it cannot be read.

    A job's end does not depend on its last words."""
    try:
        with open_plain(log, follows_links=True) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", errors="replace")
    except (OSError, StrangeFile):
        return ""


def read_end(log_uri: str, state_dir: str, *, lines: int) -> str:
    """Returns the last `lines` of a log that say something, each cut at 2,000 characters; empty: the log is gone.

    Only logs in `state_dir`'s jobs are read: a row of a database must not open any file."""
    try:
        log = to_path(log_uri).resolve()
    except (BadRequest, OSError, ValueError, RuntimeError):
        return ""
    if not log.is_relative_to(Path(state_dir).resolve() / "jobs") or log.name != "log.txt":
        return ""
    said = [line.rstrip()[:_LAST_CHARACTERS] for line in read_tail(log).splitlines() if line.strip()]
    return "\n".join(said[-lines:])


def find_error(tail: str) -> str:
    """Returns the training's own last error, at most 2,000 characters; empty: it could not write one."""
    errors = [line["message"] for line in _read_lines(tail) if line.get("severity") == "ERROR" and line.get("message")]
    return str(errors[-1])[:_LAST_CHARACTERS] if errors else ""


def to_last_words(tail: str) -> str:
    """Returns what the log says last, for an error message.

    That is the training's own last error, if it could write one. Else it is the last lines that say something, at most
    15 of them and 2,000 characters."""
    if error := find_error(tail):
        return error
    lines = [line.rstrip() for line in tail.splitlines() if line.strip()]
    return "\n".join(lines[-_LAST_LINES:])[-_LAST_CHARACTERS:]


def _read_lines(tail: str) -> Iterator[dict[str, Any]]:
    """Yields the lines that are JSON objects."""
    for line in tail.splitlines():
        if not line.startswith("{"):
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):  # half a line, or a line of another program
            continue


def to_progress(tail: str) -> Progress | None:
    """Reads the last epoch's line: a JSON object with `epoch` (from 0), `epochs` and perhaps `loss`."""
    for said in reversed(list(_read_lines(tail))):
        epoch, epochs, loss = (said.get(name) for name in ("epoch", "epochs", "loss"))
        if type(epoch) is int and type(epochs) is int:
            return Progress(epochs_done=epoch + 1, epochs_asked=epochs, loss=_to_loss(loss))
    return None


def _to_loss(said: object) -> float | None:
    try:
        loss = float(said) if isinstance(said, int | float) else math.nan
    except OverflowError:  # an integer of more than 308 digits
        return None
    return loss if math.isfinite(loss) else None
