"""Where the tests keep their files."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.memory import ROOM_BYTES, has_room, keep_files_in_memory


@pytest.mark.parametrize(
    ("free_bytes", "flags", "said"),
    [(ROOM_BYTES, 0, True), (64 << 20, 0, False), (ROOM_BYTES, os.ST_NOEXEC, False), (ROOM_BYTES, os.ST_NOSUID, True)],
    ids=["enough", "a container's 64 MB", "no programs", "a laptop's"],
)
def test_memory_is_used_where_there_is_room_and_programs_may_be_run(free_bytes: int, flags: int, said: bool) -> None:
    """A container has little, and often runs no program from there."""
    assert has_room(free_bytes, flags) == said


def test_a_temporary_folder_that_was_named_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who sets TMPDIR has a reason."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = tempfile.gettempdir()
    assert not keep_files_in_memory()
    assert (os.environ["TMPDIR"], tempfile.gettempdir()) == (str(tmp_path), before)


def test_a_machine_without_such_a_folder_keeps_its_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """macOS has none."""
    monkeypatch.delenv("TMPDIR", raising=False)
    assert not keep_files_in_memory(tmp_path / "missing")
    assert "TMPDIR" not in os.environ
