"""Checks who approved a statement with a Google account, by an ID token that was made for that statement alone.

An ID token says who someone is, not what they agree to: everyone who sees one could hand it in. So it must be bound
to the statement, in one of two ways:

- its audience is `core.decommission.approvals.to_audience` (a service account that one person may impersonate:
  ``gcloud auth print-identity-token --impersonate-service-account=... --audiences=... --include-email``), or
- its audience is the OAuth client of the settings and its ``nonce`` the statement's digest (a person's own account).
  Source: https://developers.google.com/identity/openid-connect/openid-connect#authenticationuriparameters (nonce)
"""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

from switchyard.clients.google.push_tokens import BadToken, TokenVerifier
from switchyard.core.decommission.approvals import Statement, to_audience, to_statement_digest


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """What a token proves of a statement."""

    account: str  # issuer and number: an address can be given to another person, a number cannot
    expires_at: datetime


class GoogleTokens:
    """Checks ID tokens of the accounts in `approvers` (addresses).

    Args:
        audience: an OAuth client's id, for tokens with a nonce; empty: no such token is accepted.
        certs_url: answers ``{key id: X.509 certificate}``.
    """

    def __init__(self, approvers: Collection[str], *, audience: str, certs_url: str) -> None:
        self._approvers = {address.casefold() for address in approvers}
        self._audience = audience
        self._certs_url = certs_url

    def read_proof(self, statement: Statement, token: str) -> Proved:
        """Returns the account of the token, and until when it is valid. A second call checks again.

        Raises:
            BadToken: forged, expired, made for another statement, of another account than the statement's approver,
                or of one that is not allowed.
            TryAgain: Google's certificates could not be fetched.
        """
        bound = to_audience(statement)
        audiences = [bound, *([self._audience] if self._audience else [])]
        claims = TokenVerifier(audiences, self._certs_url).read_claims(token.strip())
        if claims["aud"] != bound and claims.get("nonce") != to_statement_digest(statement):
            raise BadToken("the token was not made for this statement: its nonce is not the statement's digest")
        email = str(claims["email"]).casefold()
        if email != statement.approver.casefold():
            raise BadToken(f"the token is {email}'s, but the statement's approver is {statement.approver}")
        if email not in self._approvers:
            raise BadToken(f"{email} is not in APPROVERS")
        return Proved(
            account=f"{claims['iss'].removeprefix('https://')}#{claims['sub']}",
            expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
        )
