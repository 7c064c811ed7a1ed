"""API_TOKENS_FILE: written whole, read again when it changes, and never lost."""

import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from switchyard.clients.token_file import TokenFile, add_token, list_tokens, revoke_token
from switchyard.core.access.tokens import Scope, Token, make_token
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound

NOW = datetime(2026, 1, 2, 10, 30, tzinfo=UTC)


def make(name: str) -> Token:
    return make_token(name, Scope.READ, now=NOW, expires_in_days=1)[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "tokens.json"


def test_a_file_is_made_for_its_owner_alone(path: Path) -> None:
    """Also where there was one with another mode; nothing else is left in its folder but the lock."""
    add_token(path, make("a"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    add_token(path, make("b"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [token.name for token in list_tokens(path)] == ["a", "b"]
    assert sorted(found.name for found in path.parent.iterdir()) == ["tokens.json", "tokens.json.lock"]


def test_a_name_is_given_once(path: Path) -> None:
    """A second token of that name is refused, and the first stays."""
    add_token(path, first := make("a"))
    with pytest.raises(BadRequest, match="switchyard token --revoke a"):
        add_token(path, make("a"))
    assert list_tokens(path) == (first,)


def test_a_token_is_revoked_once(path: Path) -> None:
    """The others stay; a second call finds none."""
    add_token(path, make("a"))
    add_token(path, kept := make("b"))
    revoke_token(path, "a")
    assert list_tokens(path) == (kept,)
    with pytest.raises(NotFound, match="switchyard token --list"):
        revoke_token(path, "a")


def test_tokens_that_are_made_at_once_are_all_kept(path: Path) -> None:
    """One writes after the other."""
    made = [make(f"t{number}") for number in range(12)]
    threads = [threading.Thread(target=add_token, args=(path, token)) for token in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {token.name for token in list_tokens(path)} == {token.name for token in made}


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    """As secrets are mounted; its target is written."""
    add_token(path, make("a"))
    link = tmp_path / "link.json"
    link.symlink_to(path)
    add_token(link, make("b"))
    assert link.is_symlink()
    assert len(list_tokens(path)) == 2


def test_a_damaged_file_is_not_written_over(path: Path) -> None:
    """Someone's tokens may be in it."""
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(BadRecord, match="not JSON"):
        add_token(path, make("a"))
    with pytest.raises(BadRecord, match="not JSON"):
        revoke_token(path, "a")
    assert path.read_text() == "{"


def test_what_changes_is_read_at_the_next_request(path: Path) -> None:
    """Added, revoked, put in place from elsewhere: no server is started again."""
    add_token(path, first := make("a"))
    file = TokenFile(path)
    assert list(file.tokens) == [first]
    add_token(path, second := make("b"))
    assert list(file.tokens) == [first, second]
    revoke_token(path, "a")
    assert list(file.tokens) == [second]
    revoke_token(path, "b")
    assert list(file.tokens) == []


@pytest.mark.parametrize("damage", ["written over", "removed"])
def test_a_file_that_breaks_keeps_the_last_good_tokens(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, and takes the next good one."""
    add_token(path, first := make("a"))
    file = TokenFile(path)
    if damage == "removed":
        path.unlink()
    else:
        path.write_text("{")
    assert [file.tokens for _ in range(3)] == [(first,)] * 3
    assert file.problem
    assert len(caplog.records) == 1
    assert "stay in use" in caplog.text
    path.unlink(missing_ok=True)
    add_token(path, second := make("b"))
    assert file.tokens == (second,)
    assert file.problem == ""


def test_a_server_does_not_start_with_a_bad_file(path: Path) -> None:
    """Missing or damaged, it names the command that makes one."""
    with pytest.raises(BadSetup, match="switchyard token --name"):
        TokenFile(path)
    path.parent.mkdir()
    path.write_text("[]")
    with pytest.raises(BadSetup, match="API_TOKENS_FILE cannot be read"):
        TokenFile(path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """It is said in words, not as a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(BadSetup, match="cannot be written"):
        add_token(tmp_path / "file" / "tokens.json", make("a"))
    assert os.listdir(tmp_path) == ["file"]
