"""Who has agreed that an MLflow deployment is deleted: the statement that a person signs, and which statements count.

How a signature is checked is in `switchyard.clients.approvals`. Nothing here makes or keeps a signature: people sign on
their own machines, and a flow only verifies.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from switchyard.core.errors import BadRecord, BadRequest

NAMESPACE: Final = "switchyard-decommission"
"""What a signature is for (``ssh-keygen -Y sign -n``): one that was made for anything else is refused."""
LONGEST: Final = timedelta(days=14)
"""How far ahead a statement may expire: one that never expires would allow what no one thinks of any more."""
LEAST_TYPED: Final = 12
"""Digits of a digest that a person types at least."""
MAX_BYTES: Final = 2_000
"""A statement's text is never longer."""

_FIRST_LINES: Final = (f"{NAMESPACE} 1", f"{NAMESPACE} 2")
"""The first line of a statement, by format. A statement of format 1 says nothing of the rules: it is read, and refused
with the reason."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_STATE: Final = re.compile(r"[a-z][a-z0-9_ -]{0,38}[a-z0-9]")
_APPROVER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9][A-Za-z0-9.-]*")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"

How = Literal["ssh", "google"]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a person signs: that all of one inventory may enter one state by these rules, until then."""

    digest: str  # of the inventory: 64 hex digits, perhaps after `sha256:`
    state: str  # the state that the walk may enter, e.g. `approved`
    approver: str  # an e-mail address, as the allow-list has it
    expires_at: datetime  # aware UTC, whole seconds
    rules: str = ""  # digest of the rules, as `digest`; empty: a statement of format 1, which no longer counts


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of which it is proved who made it."""

    statement: Statement
    how: How
    proof: str  # the key's fingerprint (`SHA256:...`), or the account's number at Google
    expires_at: datetime  # the statement's expiry, or the token's where that comes first
    source: str  # the file that it was read from


class Unproved(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was handed in as an approval, and proves nothing."""

    source: str
    reason: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What approvals are asked for."""

    digest: str
    rules: str  # their digest
    state: str
    number: int  # different people; 0: the typed digest is enough
    own_accounts: tuple[str, ...]  # whom the flow runs as, and who started it: they may not approve


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that does not count."""

    source: str
    approver: str  # empty: not known
    reason: str


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """Which statements count. It is a value of one moment: ask again right before the act."""

    counted: tuple[Approval, ...]
    refused: tuple[Refused, ...]
    number: int  # that were asked for

    @property
    def passed(self) -> bool:
        """True if enough people agree."""
        return len(self.counted) >= self.number

    @property
    def expires_at(self) -> datetime | None:
        """When the first of those that count expires; None: none counts."""
        return min((one.expires_at for one in self.counted), default=None)


def to_digest(text: str) -> str:
    """Returns the 64 hex digits of a digest that may begin with ``sha256:``.

    Raises:
        BadRequest: it is not such a digest.
    """
    digits = text.removeprefix("sha256:")
    if not _DIGEST.fullmatch(digits):
        raise BadRequest(f"{text[:80]!r} is not a digest of 64 hex digits")
    return digits


def is_digest(text: str) -> bool:
    """Returns True for 64 hex digits."""
    return _DIGEST.fullmatch(text) is not None


def to_text(statement: Statement) -> str:
    """Returns the statement's one text, which is what is signed: equal statements, and only those, have equal texts.

    >>> from datetime import UTC, datetime
    >>> print(to_text(Statement(digest="sha256:" + "ab" * 32, rules="sha256:" + "cd" * 32, state="approved",
    ...     approver="eve@example.com", expires_at=datetime(2026, 12, 6, tzinfo=UTC))), end="")
    switchyard-decommission 2
    inventory: sha256:abababababababababababababababababababababababababababababababab
    rules: sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
    state: approved
    expires: 2026-12-06T00:00:00Z
    approver: eve@example.com

    Raises:
        BadRequest: a value that the text could not hold.
    """
    if not _STATE.fullmatch(statement.state):
        raise BadRequest(f"{statement.state!r} is not a state: states are lower-case words")
    if not _APPROVER.fullmatch(statement.approver):
        raise BadRequest(f"the approver {statement.approver!r} is not an e-mail address")
    if statement.expires_at.tzinfo is None:
        raise BadRequest("the statement's expiry has no zone: write one, such as Z for UTC")
    return (
        f"{_FIRST_LINES[bool(statement.rules)]}\n"
        f"inventory: sha256:{to_digest(statement.digest)}\n"
        + (f"rules: sha256:{to_digest(statement.rules)}\n" if statement.rules else "")
        + f"state: {statement.state}\n"
        f"expires: {statement.expires_at.astimezone(UTC).strftime(_TIME)}\n"
        f"approver: {statement.approver}\n"
    )


def to_statement_digest(statement: Statement) -> str:
    """Returns 64 hex digits, of the statement's text.

    A Google ID token is bound to them (by its ``nonce``, or its audience).
    """
    return hashlib.sha256(to_text(statement).encode()).hexdigest()


def to_audience(statement: Statement) -> str:
    """Returns the audience of a Google ID token that was made for this statement alone."""
    return f"{NAMESPACE}/{to_statement_digest(statement)}"


def to_commands(statement: Statement, folder: str, *, key: str = "~/.ssh/id_ed25519") -> str:
    """Returns what the approver pastes into a shell, to sign with an SSH key.

    `folder` is where approvals are read from.
    """
    file = re.sub(r"[^A-Za-z0-9.-]", "-", statement.approver) + ".txt"
    return (
        f"cat > {file} <<'END'\n{to_text(statement)}END\n"
        f"ssh-keygen -Y sign -f {key} -n {NAMESPACE} {file}\n"
        f"# then copy {file} and {file}.sig to {folder}\n"
    )


def read_statement(data: bytes, source: str) -> Statement:
    """Returns the statement that a file holds.

    Raises:
        BadRecord: it is not, byte for byte, what `to_text` writes.
    """
    try:
        statement = _parse(data)
        is_whole = to_text(statement).encode() == data
    except (ValueError, KeyError, BadRequest) as err:
        raise BadRecord(source, [f"it is not a statement of {NAMESPACE} as `decommission` writes it ({err})"]) from err
    if not is_whole:
        # A text that says more than we read would be signed for something that we do not show.
        raise BadRecord(source, [f"it is not a statement of {NAMESPACE}: `decommission` writes other lines"])
    return statement


def _parse(data: bytes) -> Statement:
    lines = data[:MAX_BYTES].decode("ascii").split("\n")
    values = dict(line.split(": ", 1) for line in lines[1:] if line)
    return Statement(
        digest=to_digest(values["inventory"]),
        rules=to_digest(values["rules"]) if "rules" in values else "",
        state=values["state"],
        expires_at=datetime.strptime(values["expires"], _TIME).replace(tzinfo=UTC),
        approver=values["approver"],
    )


def rule(handed_in: Sequence[Approval | Unproved], wanted: Wanted, now: datetime) -> Ruling:
    """Returns which of these count, in the order in which they were handed in.

    Of one person's approvals the first that counts is taken.
    """
    counted: list[Approval] = []
    refused: list[Refused] = []
    for one in handed_in:
        if isinstance(one, Unproved):
            refused.append(Refused(source=one.source, approver="", reason=one.reason))
            continue
        reason = _find_fault(one, wanted, now) or _find_double(one, counted)
        if reason:
            refused.append(Refused(source=one.source, approver=one.statement.approver, reason=reason))
        else:
            counted.append(one)
    return Ruling(counted=tuple(counted), refused=tuple(refused), number=wanted.number)


def is_typed(digest: str, typed: str) -> bool:
    """Returns True if a person typed this digest: all of it, or its beginning, of twelve digits at least.

    >>> is_typed("ab" * 32, "sha256:" + "ab" * 6), is_typed("ab" * 32, "abab"), is_typed("ab" * 32, "yes")
    (True, False, False)
    """
    said = typed.strip().lower().removeprefix("sha256:")
    return len(said) >= LEAST_TYPED and to_digest(digest).startswith(said)


def _find_fault(one: Approval, wanted: Wanted, now: datetime) -> str:
    said, digest, rules = one.statement, to_digest(wanted.digest), to_digest(wanted.rules)
    if to_digest(said.digest) != digest:
        return f"it is about another inventory (sha256:{to_digest(said.digest)[:12]}...), not sha256:{digest[:12]}..."
    if not said.rules:
        return (
            "it is of format 1, which says nothing of the rules (known callers, days of quiet, what is given up). It "
            "must be signed again. Sign what `switchyard decommission status` prints"
        )
    if to_digest(said.rules) != rules:
        return (
            f"it is about other rules (sha256:{to_digest(said.rules)[:12]}...), not sha256:{rules[:12]}...: they were "
            "changed since. Sign what `switchyard decommission status` prints"
        )
    if said.state != wanted.state:
        return f"it allows the state {said.state!r}, not {wanted.state!r}"
    if one.expires_at <= now:
        return f"it expired at {one.expires_at.astimezone(UTC).strftime(_TIME)}"
    if said.expires_at - now > LONGEST:
        return f"it expires more than {LONGEST.days} days from now"
    if _fold(said.approver) in {_fold(account) for account in wanted.own_accounts}:
        return "the flow's own account does not approve itself"
    return ""


def _find_double(one: Approval, counted: Collection[Approval]) -> str:
    """Returns why a second approval is the same person's: one person is one address, and one key.

    An allow-list may have a key under two names.
    """
    for other in counted:
        if _fold(other.statement.approver) == _fold(one.statement.approver):
            return f"the same person has approved already ({other.source})"
        if (other.how, other.proof) == (one.how, one.proof):
            return f"the same key has approved already, as {other.statement.approver} ({other.source})"
    return ""


def _fold(address: str) -> str:
    return address.strip().casefold()
