"""What a person may change of a run."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.runs.edits import MAX_NAME, MAX_NOTES, RunEdit, apply_edit, read_edit
from switchyard.core.runs.rows import QuickTest, RunStatus

NOW = datetime(2026, 1, 2, 10, 30, tzinfo=UTC)
RUN = QuickTest(id=1, status=RunStatus.COMPLETED, display_name="a", notes="n")


def read(**body: Any) -> RunEdit:
    return read_edit(json.dumps(body).encode())


def test_what_is_left_out_stays() -> None:
    """Each key for itself."""
    assert apply_edit(RUN, read(notes="m"), now=NOW) == msgspec.structs.replace(RUN, notes="m")
    assert apply_edit(RUN, read(display_name=" b "), now=NOW) == msgspec.structs.replace(RUN, display_name="b")
    assert apply_edit(RUN, read(display_name="", notes=""), now=NOW).display_name == ""


def test_archiving_keeps_its_first_moment() -> None:
    """A second call changes nothing; taking it back forgets the moment."""
    archived = apply_edit(RUN, read(archived=True), now=NOW)
    assert archived.archived_at == NOW
    assert apply_edit(archived, read(archived=True), now=NOW + timedelta(days=1)) == archived
    assert apply_edit(archived, read(archived=False), now=NOW) == RUN
    assert apply_edit(RUN, read(archived=False), now=NOW) == RUN


def test_texts_are_taken_up_to_their_limits() -> None:
    """Any letters; lines in notes, however they end."""
    edit = read(display_name="ä" * MAX_NAME, notes="👩‍🔬\r\n\tzwei" + "x" * (MAX_NOTES - 10))
    assert edit.notes == "👩‍🔬\n\tzwei" + "x" * (MAX_NOTES - 10)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "Expected `object`"),
        (b"{}", "changes nothing"),
        (b'{"status": "completed"}', "unknown field `status`"),
        (b'{"notes": null}', r"\$.notes"),
        (b'{"notes": 1}', r"\$.notes"),
        (b'{"archived": "yes"}', r"\$.archived"),
        (b'{"archived": 1}', r"\$.archived"),
        (b'{"archived": true, "archived": false}', "is twice in one object"),
        (b'{"display_name": "a\\nb"}', r"display_name holds a control character \(U\+000A\) at position 1"),
        (b'{"notes": "a\\u0000"}', r"notes holds a control character \(U\+0000\)"),
        (b'{"notes": "\\ud800"}', "surrogate"),
        (json.dumps({"display_name": "x" * (MAX_NAME + 1)}).encode(), "length <= 200"),
        (json.dumps({"notes": "x" * (MAX_NOTES + 1)}).encode(), "length <= 10000"),
    ],
)
def test_anything_else_is_refused(body: bytes, said: str) -> None:
    """With what is wrong."""
    with pytest.raises(BadRequest, match=said):
        read_edit(body)
