"""Verifies who pushed a message, or approved something, by Google's ID token and google-auth.

Source: https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import cachecontrol
import requests
from google.auth import exceptions
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from switchyard.core.errors import BadRequest, TryAgain

# Source: https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken (both are in use)
ISSUERS: Final = ("https://accounts.google.com", "accounts.google.com")
CLOCK_SKEW_S: Final = 10
"""How much this machine's clock and Google's may differ."""
SIGNATURE_REMOVED: Final = ".SIGNATURE_REMOVED_BY_GOOGLE"
"""The end of a token that Cloud Run has checked itself, before the container got it.
Source: https://cloud.google.com/run/docs/troubleshooting#signature-removed"""
TIMEOUT_S: Final = 10.0
"""The time-out for certificates; Pub/Sub waits as long for an answer by default."""


class BadToken(BadRequest):
    """The token is missing, or Google did not make it for us. Nothing is done for its sender."""


class _Request(Request):
    """google-auth's request, with a time-out: its own would wait for two minutes."""

    def __call__(self, url: str, **arguments: Any) -> Any:  # type: ignore[override]  # the caller names the rest
        return super().__call__(url, **{"timeout": TIMEOUT_S, **arguments})  # type: ignore[no-untyped-call]


class TokenVerifier:
    """Verifies tokens made for `audience`, or for one of several. Thread-safe.

    Google's certificates are kept for as long as their own Cache-Control says, which is hours. google-auth's
    documentation recommends CacheControl for it.

    Args:
        certs_url: answers ``{key id: X.509 certificate}``.
    """

    def __init__(self, audience: str | Sequence[str], certs_url: str) -> None:
        self._audience = (
            audience if isinstance(audience, str) else list(audience)
        )  # google-auth knows no other sequence
        self._certs_url = certs_url
        self._fetch = _Request(session=cachecontrol.CacheControl(requests.Session()))

    def read_account(self, authorization: str) -> str:
        """Returns the service account that the ``Authorization`` header proves.

        Raises:
            BadToken: no token, another issuer or audience, a wrong signature, expired, or no verified address.
            TryAgain: the certificates could not be fetched.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise BadToken("the push has no token; a push needs `Authorization: Bearer ...`")
        if token.strip().endswith(SIGNATURE_REMOVED):
            # Everyone could write that. Only the person who set Cloud Run up knows whether it stands before this port.
            raise BadToken(
                "the token's signature was removed by Cloud Run, and only Cloud Run can verify it. Make the endpoint a "
                "separate service that checks no invokers (switchyard serve --only-events; docs/google-cloud.md)"
            )
        return str(self.read_claims(token.strip())["email"])

    def read_claims(self, token: str) -> dict[str, Any]:
        """Returns what the token says. Its ``email`` is a verified address.

        Raises:
            BadToken, TryAgain: as `read_account`.
        """
        claims = self._verify(token)
        if claims.get("iss") not in ISSUERS:
            raise BadToken(f"the token's issuer must be {ISSUERS[0]}; got {claims.get('iss')!r}")
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise BadToken(f"the token must name a verified email address; got {email!r}")
        return claims

    def _verify(self, token: str) -> dict[str, Any]:
        try:
            claims = id_token.verify_token(
                token,
                self._fetch,
                audience=self._audience,
                certs_url=self._certs_url,
                clock_skew_in_seconds=CLOCK_SKEW_S,
            )
        except exceptions.TransportError as err:
            raise TryAgain(f"Google's certificates could not be fetched from {self._certs_url}: {err}") from err
        except json.JSONDecodeError as err:
            # The certificates are not JSON: a token that is not JSON is google-auth's own MalformedError.
            raise TryAgain(f"{self._certs_url} did not answer with certificates as JSON: {err}") from err
        except (ValueError, TypeError, RecursionError, exceptions.GoogleAuthError) as err:
            # TypeError: a signed token with times that are not numbers. RecursionError: one nested a thousand deep,
            # which everyone can send: it is read before its signature. An argument's repr may hold parts of the token.
            raise BadToken(f"the token is refused: {str(err.args[0] if err.args else err)[:200]}") from err
        return dict(claims)
