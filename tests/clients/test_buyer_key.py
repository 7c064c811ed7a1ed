"""The key under which buyers' ids are hashed."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from switchyard.clients.buyer_key import read_buyer_key
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.errors import BadSetup


def settings(state: Path, **more: str) -> Settings:
    return read_settings({"STATE_DIR": str(state), **more})


def test_machine_makes_its_own_key_once(tmp_path: Path) -> None:
    """For its owner alone; of many at once one makes it, and nothing else is left."""
    state = tmp_path / "state"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: read_buyer_key(settings(state)), range(32)))
    assert keys == {read_buyer_key(settings(state))}
    (made,) = state.iterdir()
    assert (made.name, stat.S_IMODE(made.stat().st_mode)) == ("buyer.key", 0o600)
    assert read_buyer_key(settings(tmp_path / "other")) not in keys


def test_named_file_is_never_made(tmp_path: Path) -> None:
    """Each server would make another; the message has the command, and a file that is there is read without blanks."""
    named = tmp_path / "key"
    with pytest.raises(BadSetup, match=f"openssl rand -hex 32 > {named}"):
        read_buyer_key(settings(tmp_path, BUYER_KEY_FILE=str(named)))
    named.write_text("k" * 32 + "\n")
    assert read_buyer_key(settings(tmp_path, BUYER_KEY_FILE=str(named))) == b"k" * 32


@pytest.mark.parametrize("text", ["", "secretsecret", "k" * 5_000])
def test_file_that_holds_no_key_is_refused(tmp_path: Path, text: str) -> None:
    """The error does not show what it holds."""
    (tmp_path / "key").write_text(text)
    with pytest.raises(BadSetup, match="a key has 32 to 4096") as caught:
        read_buyer_key(settings(tmp_path, BUYER_KEY_FILE=str(tmp_path / "key")))
    assert not text or text not in str(caught.value)


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetup, match="BUYER_KEY_FILE"):
        read_buyer_key(settings(tmp_path / "file"))
