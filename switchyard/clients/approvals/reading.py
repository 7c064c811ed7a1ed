"""Reads approvals as people hand them in, below one address.

Each is a statement (``alice.txt``), and beside it its SSH signature (``alice.txt.sig``, where ssh-keygen puts it) or a
Google ID token (``alice.txt.token``).
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from switchyard.clients.approvals.ssh import MAX_SIGNATURE_BYTES, SshSignatures
from switchyard.core.decommission.approvals import MAX_BYTES, Approval, Unproved, read_statement
from switchyard.core.errors import BadRecord, BadRequest, NotFound
from switchyard.core.ports import Objects

if TYPE_CHECKING:  # what it needs is not installed everywhere
    from switchyard.clients.approvals.google_tokens import GoogleTokens

MAX_FILES: Final = 200
MAX_TOKEN_BYTES: Final = 16_000
STATEMENT, SIGNATURE, TOKEN = ".txt", ".sig", ".token"


class ApprovalFiles:
    """Reads approvals, and says for each who is proved to have made it.

    Args:
        signatures: None: there is no allow-list, so no signature counts.
        tokens: None: there are no accounts, so no token counts.
    """

    def __init__(self, *, signatures: SshSignatures | None, tokens: "GoogleTokens | None") -> None:
        self._signatures = signatures
        self._tokens = tokens

    def read(self, objects: Objects, folder: str, now: datetime) -> list[Approval | Unproved]:
        """Returns everything below `folder` (a URI that ends with a slash), by name. A second call reads again.

        A file that proves nothing says why, and the others are read. `core.decommission.approvals.rule` decides which
        count.

        Raises:
            BadSetup: ssh-keygen or the allow-list is missing, and there is a signature to check.
            BadRequest: too many files.
            TryAgain: as `Objects`, or Google's certificates could not be fetched.
        """
        uris = objects.list(folder)
        if len(uris) > MAX_FILES:
            raise BadRequest(
                f"{folder} has {len(uris):,} files; at most {MAX_FILES} are read. Put the approvals into a folder of "
                "their own, and name that"
            )
        there = set(uris)
        return [self._read_one(objects, uri, there, now) for uri in uris if not _is_beside(uri, there)]

    def _read_one(self, objects: Objects, uri: str, there: set[str], now: datetime) -> Approval | Unproved:
        name = uri.rpartition("/")[2]
        if not uri.endswith(STATEMENT):
            return Unproved(source=name, reason=f"it is neither a statement ({STATEMENT}) nor the signature of one")
        try:
            data, _ = objects.read(uri, max_bytes=MAX_BYTES)
            statement = read_statement(data, name)
            if uri + SIGNATURE in there and self._signatures is not None:
                signature, _ = objects.read(uri + SIGNATURE, max_bytes=MAX_SIGNATURE_BYTES)
                proof = self._signatures.read_fingerprint(data, signature, statement.approver, now)
                return Approval(
                    statement=statement, how="ssh", proof=proof, expires_at=statement.expires_at, source=name
                )
            if uri + TOKEN in there and self._tokens is not None:
                token, _ = objects.read(uri + TOKEN, max_bytes=MAX_TOKEN_BYTES)
                proved = self._tokens.read_proof(statement, token.decode("ascii", errors="replace"))
                return Approval(
                    statement=statement,
                    how="google",
                    proof=proved.account,
                    expires_at=min(statement.expires_at, proved.expires_at),
                    source=name,
                )
        except (BadRequest, BadRecord, NotFound) as err:
            return Unproved(source=name, reason=str(err))
        return Unproved(source=name, reason=self._say_unsigned(uri, there))

    def _say_unsigned(self, uri: str, there: set[str]) -> str:
        if uri + SIGNATURE in there:
            return "it is signed with SSH, but APPROVERS_FILE names no allow-list"
        if uri + TOKEN in there:
            return "it has a Google token, but APPROVERS names no accounts"
        return f"nothing beside it proves who made it ({SIGNATURE} or {TOKEN})"


def _is_beside(uri: str, there: set[str]) -> bool:
    return any(uri.endswith(end) and uri.removesuffix(end) in there for end in (SIGNATURE, TOKEN))
