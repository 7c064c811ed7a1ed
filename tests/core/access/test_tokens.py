"""Tokens, and what is kept of them."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from switchyard.core.access.tokens import (
    Scope,
    find_token,
    hash_token,
    hide_tokens,
    make_token,
    read_tokens,
    write_tokens,
)
from switchyard.core.errors import BadRecord, BadRequest

NOW = datetime(2026, 1, 2, 10, 30, tzinfo=UTC)


def test_a_token_is_256_random_bits_and_only_its_hash_is_kept() -> None:
    """Two calls make two; what is written holds neither."""
    texts, tokens = zip(
        *(make_token(f"t{number}", Scope.READ, now=NOW, expires_in_days=1) for number in range(2)), strict=True
    )
    assert len(set(texts)) == 2
    assert all(re.fullmatch(r"swy_[A-Za-z0-9_-]{43}", text) for text in texts)
    written = write_tokens(tokens)
    assert not any(text.encode() in written or text[4:].encode() in written for text in texts)
    assert read_tokens(written, "file") == tokens


def test_the_token_of_a_text_is_found() -> None:
    """Whole, and no other."""
    (text, token), (other, _) = (make_token(name, Scope.READ, now=NOW, expires_in_days=0) for name in ("a", "b"))
    assert find_token([token], text) == token
    for wrong in (other, text[:-1], text + "x", text.upper(), "", "\ud800", token.sha256):
        assert find_token([token], wrong) is None


def test_write_includes_read() -> None:
    """And read alone does not include write."""
    _, reads = make_token("r", Scope.READ, now=NOW, expires_in_days=0)
    _, writes = make_token("w", Scope.WRITE, now=NOW, expires_in_days=0)
    assert [reads.allows(scope) for scope in Scope] == [True, False]
    assert [writes.allows(scope) for scope in Scope] == [True, True]


def test_a_token_ends_at_its_moment() -> None:
    """Not a second later; one without an end never."""
    _, token = make_token("a", Scope.READ, now=NOW, expires_in_days=30)
    assert token.expires_at == NOW + timedelta(days=30)
    assert not token.is_expired(NOW + timedelta(days=30, seconds=-1))
    assert token.is_expired(NOW + timedelta(days=30))
    _, endless = make_token("b", Scope.READ, now=NOW, expires_in_days=0)
    assert not endless.is_expired(NOW + timedelta(days=36500))


@pytest.mark.parametrize(("name", "days"), [("", 1), ("a b", 1), ("-a", 1), ("a\n", 1), ("x" * 65, 1), ("a", -1)])
def test_what_cannot_be_kept_is_refused(name: str, days: int) -> None:
    """The message says what is expected."""
    with pytest.raises(BadRequest, match=r"must be (up to|from)"):
        make_token(name, Scope.READ, now=NOW, expires_in_days=days)


GOOD: dict[str, Any] = {
    "name": "a",
    "sha256": hash_token("x"),
    "scopes": ["read"],
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": None,
}


def to_file(*tokens: dict[str, Any]) -> bytes:
    return json.dumps({"version": 1, "tokens": list(tokens)}).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"version": 2, "tokens": []}', r"\$.version"),
        (b'{"version": 1, "tokens": [], "more": 1}', "unknown field `more`"),
        (to_file({**GOOD, "token": "swy_x"}), "unknown field `token`"),
        (to_file({**GOOD, "scopes": []}), r"\$.tokens\[0\].scopes"),
        (to_file({**GOOD, "scopes": ["admin"]}), r"\$.tokens\[0\].scopes"),
        (to_file({**GOOD, "sha256": "A" * 64}), r"\$.tokens\[0\].sha256"),
        (to_file({**GOOD, "sha256": hash_token("x") + "\n"}), r"\$.tokens\[0\].sha256"),
        (to_file({**GOOD, "expires_at": "2026-01-01T00:00:00"}), r"\$.tokens\[0\].expires_at"),
        (to_file({**GOOD, "expires_at": "2026-01-01T00:00:00+02:00"}), "must be in UTC"),
        (to_file({name: value for name, value in GOOD.items() if name != "expires_at"}), "expires_at"),
        (to_file(GOOD, {**GOOD, "sha256": hash_token("y")}), "name 'a' is there twice"),
        (to_file(GOOD, {**GOOD, "name": "b"}), "hash .* is there twice"),
        (b" " * (1024 * 1024 + 1), "at most .* are read"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(data: bytes, said: str) -> None:
    """It says where, and what is wrong."""
    with pytest.raises(BadRecord, match=f"^tokens.json: .*{said}"):
        read_tokens(data, "tokens.json")


def test_tokens_are_hidden_in_a_text() -> None:
    """Each of them, and nothing beside."""
    text, _ = make_token("a", Scope.READ, now=NOW, expires_in_days=1)
    assert hide_tokens(f"/x?token={text}&y={text}") == "/x?token=swy_***&y=swy_***"
    assert hide_tokens("/quick-tests/12?swy_short") == "/quick-tests/12?swy_short"
