"""What a person may change of a run, and what becomes of its row."""

import unicodedata
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from switchyard.core.errors import BadRequest
from switchyard.core.runs.rows import QuickTest
from switchyard.core.strict_json import decode_strictly

MAX_NAME: Final = 200
MAX_NOTES: Final = 10_000
_LINES: Final = "\n\t"


class RunEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed; what is left out stays as it is."""

    display_name: Annotated[str, Meta(max_length=MAX_NAME)] | UnsetType = UNSET  # empty: it is called by its id
    notes: Annotated[str, Meta(max_length=MAX_NOTES)] | UnsetType = UNSET  # plain text, in lines
    archived: bool | UnsetType = UNSET


def read_edit(body: bytes) -> RunEdit:
    """Returns the edit that a request asks for. Raises: BadRequest: it is not one, and why."""
    try:
        edit = decode_strictly(body, RunEdit)
    except ValueError as err:
        raise BadRequest(f"the body must be a JSON object with display_name, notes or archived: {err}") from err
    if edit == RunEdit():
        raise BadRequest("the body changes nothing: name at least one of display_name, notes, archived")
    name, notes = edit.display_name, edit.notes
    if isinstance(name, str):
        name = name.strip()
        _refuse_controls("display_name", name, allowed="")
    if isinstance(notes, str):
        notes = notes.replace("\r\n", "\n")
        _refuse_controls("notes", notes, allowed=_LINES)
    return RunEdit(display_name=name, notes=notes, archived=edit.archived)


def apply_edit(run: QuickTest, edit: RunEdit, *, now: datetime) -> QuickTest:
    """Returns `run` as it is after `edit`; the very same if that is what it says already."""
    archived_at = run.archived_at
    if edit.archived is True:
        archived_at = archived_at or now
    elif edit.archived is False:
        archived_at = None
    return msgspec.structs.replace(
        run,
        display_name=run.display_name if edit.display_name is UNSET else edit.display_name,
        notes=run.notes if edit.notes is UNSET else edit.notes,
        archived_at=archived_at,
    )


def _refuse_controls(key: str, text: str, *, allowed: str) -> None:
    """Refuses control characters, so that no name breaks a line, or rings a terminal's bell."""
    for place, char in enumerate(text):
        if unicodedata.category(char) in ("Cc", "Zl", "Zp") and char not in allowed:
            raise BadRequest(f"{key} holds a control character (U+{ord(char):04X}) at position {place}; leave it out")
