"""Signs and checks tokens as Google does, with a key of this process's own."""

import datetime
import functools
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt


class Key:
    """An RSA key with a self-signed certificate, as a service account or Google's own issuer has one."""

    def __init__(self, name: str) -> None:
        self.key_id = secrets.token_hex(20)
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private_pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .sign(private, hashes.SHA256())
        )
        self.certificate_pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self._signer = crypt.RSASigner.from_string(self.private_pem, self.key_id)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A JWT (RS256) of `claims`."""
        token: bytes = jwt.encode(self._signer, dict(claims))
        return token.decode()

    def read(self, token: str, *, audience: str | None = None) -> dict[str, Any]:
        """The claims of a token that this key signed. Raises: ValueError: forged, expired, or for another audience."""
        claims: Mapping[str, Any] = jwt.decode(token, certs={self.key_id: self.certificate_pem}, audience=audience)
        return dict(claims)


@functools.cache
def make_key(name: str) -> Key:
    """A key for `name`, the same at every call: making one takes a while."""
    return Key(name)


class Issuer:
    """Issues ID tokens and access tokens, and knows its own again. Safe for many threads.

    Args:
        lifetime_s: of every token. Google's is 3600. Source: https://cloud.google.com/docs/authentication/token-types
    """

    def __init__(self, *, lifetime_s: int = 3600) -> None:
        self.lifetime_s = lifetime_s
        self.key = make_key("accounts.google.com")
        self._access: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    @property
    def certs(self) -> dict[str, str]:
        """By key id, as https://www.googleapis.com/oauth2/v1/certs answers."""
        return {self.key.key_id: self.key.certificate_pem}

    def make_id_token(self, audience: str, email: str, *, with_email: bool = True, **claims: Any) -> str:
        """An ID token with the claims that Google's have.

        Source: https://cloud.google.com/compute/docs/instances/verifying-instance-identity#token_format
        """
        now = int(time.time())
        token = {
            "iss": "https://accounts.google.com",
            "aud": audience,
            "azp": email,
            "sub": str(int.from_bytes(email.encode()[:8], "big")),
            "iat": now,
            "exp": now + self.lifetime_s,
            "jti": secrets.token_hex(8),  # two tokens of one second differ
        }
        token |= {"email": email, "email_verified": True} if with_email else {}
        return self.key.sign(token | claims)

    def make_access_token(self, email: str) -> str:
        """Opaque, as Google's are; `read_access_token` knows it."""
        token = f"ya29.{secrets.token_urlsafe(32)}"
        with self._lock:
            self._access[token] = (email, time.time() + self.lifetime_s)
        return token

    def read_access_token(self, token: str) -> str | None:
        """Whose it is; None when it is not ours or has expired."""
        with self._lock:
            email, expires = self._access.get(token, ("", 0.0))
        return email if expires > time.time() else None
