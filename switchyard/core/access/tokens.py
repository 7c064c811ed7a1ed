"""The tokens that let programs and people in: how one is made, and what is kept of it.

A token is 256 random bits. No one guesses it, so its SHA-256 can be kept as it is: salts, keys and slow hashes (bcrypt,
Argon2) are for passwords, which people choose and others try one by one.
Source: NIST SP 800-63B, section 5.1.2.2 (secrets of 112 bits and more need an approved hash and nothing else).
"""

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from switchyard.core.errors import BadRecord, BadRequest
from switchyard.core.strict_json import decode_strictly

PREFIX: Final = "swy_"
"""The prefix by which scanners of repositories and logs know a token of ours."""
_BYTES: Final = 32
_TOKEN: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
MAX_FILE_BYTES: Final = 1024 * 1024
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"

_Moment = Annotated[datetime, Meta(tz=True)]


class Scope(StrEnum):
    """What a token is good for; `write` includes `read`."""

    READ = "read"
    WRITE = "write"


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of one token: never the token itself."""

    name: Annotated[str, Meta(pattern=_NAME)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]  # of the token's text
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    created_at: _Moment
    expires_at: _Moment | None  # None: never

    def allows(self, scope: Scope) -> bool:
        """Returns True if the token is good for `scope`."""
        return scope in self.scopes or Scope.WRITE in self.scopes

    def is_expired(self, now: datetime) -> bool:
        """Returns True from `expires_at` on."""
        return self.expires_at is not None and now >= self.expires_at


class TokenList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of API_TOKENS_FILE."""

    version: Literal[1] = 1
    tokens: list[Token] = []


def read_tokens(data: bytes, where: str) -> tuple[Token, ...]:
    """Returns the tokens of a file. Raises: BadRecord: it is not what `write_tokens` writes."""
    if len(data) > MAX_FILE_BYTES:
        raise BadRecord(where, [f"it has {len(data)} bytes; at most {MAX_FILE_BYTES} are read"])
    try:
        found = decode_strictly(data, TokenList).tokens
    except ValueError as err:
        raise BadRecord(where, [str(err)]) from err
    problems = [
        *(f"the name {name!r} is there twice" for name in _find_doubles(token.name for token in found)),
        *(f"the hash {hash_[:8]}... is there twice" for hash_ in _find_doubles(token.sha256 for token in found)),
        *(f"the times of {token.name!r} must be in UTC" for token in found if not _is_utc(token)),
    ]
    if problems:
        raise BadRecord(where, problems)
    return tuple(found)


def write_tokens(tokens: Sequence[Token]) -> bytes:
    """Returns the file of `tokens`, which `read_tokens` reads."""
    return msgspec.json.format(msgspec.json.encode(TokenList(tokens=list(tokens))), indent=2) + b"\n"


def make_token(name: str, scope: Scope, *, now: datetime, expires_in_days: int) -> tuple[str, Token]:
    """Returns a new token, and what to keep of it. `expires_in_days` 0: never. Raises: BadRequest."""
    if not re.match(_NAME, name):
        raise BadRequest(
            f"a token's name must be up to 64 letters, digits, dots, dashes and underscores, the first a letter or a "
            f"digit; got {name[:80]!r}"
        )
    if not 0 <= expires_in_days <= 3650:
        raise BadRequest(f"--expires-in-days must be from 0 (never) to 3650; got {expires_in_days}")
    text = PREFIX + secrets.token_urlsafe(_BYTES)
    created = now.astimezone(UTC).replace(microsecond=0)
    return text, Token(
        name=name,
        sha256=hash_token(text),
        scopes=[scope],
        created_at=created,
        expires_at=created + timedelta(days=expires_in_days) if expires_in_days else None,
    )


def hash_token(text: str) -> str:
    """Returns what is kept of a token's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def find_token(tokens: Iterable[Token], text: str) -> Token | None:
    """Returns the token with the text `text`, expired or not.

    How long it takes does not show which token it is, or how nearly a text is one.
    """
    hashed, found = hash_token(text), None
    for token in tokens:
        if hmac.compare_digest(token.sha256, hashed):
            found = token
    return found


def hide_tokens(text: str) -> str:
    """Returns `text` without any token that it holds."""
    return _TOKEN.sub(PREFIX + "***", text)


def _find_doubles(texts: Iterable[str]) -> list[str]:
    return [text for text, times in Counter(texts).items() if times > 1]


def _is_utc(token: Token) -> bool:
    return all(at is None or at.utcoffset() == timedelta(0) for at in (token.created_at, token.expires_at))
