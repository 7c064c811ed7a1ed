"""Where identity comes from: a machine's metadata server, Google's OAuth token endpoint, IAM credentials, certificates.

All in one process with one issuer, so that a token from one is known to the others. google-auth reads the metadata
server's address when it is imported: a test that wants it starts a process with `Metadata.environ`.
"""

import argparse
import base64
import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.emulators.faults import Fault, Faults
from tests.emulators.server import listen, serve_forever, serve_in_thread
from tests.emulators.tokens import Issuer, make_key

PROJECT_ID = "switchyard-local"
MACHINE_ACCOUNT = f"worker@{PROJECT_ID}.iam.gserviceaccount.com"
_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Metadata:
    """The running endpoints, as a test in the same process sees them."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.faults = Faults()
        self.url = ""
        self.may_impersonate: set[tuple[str, str]] = set()  # (who, whom)
        self._users: dict[str, str] = {}

    @property
    def host(self) -> str:
        """``127.0.0.1:port``."""
        return self.url.removeprefix("http://")

    @property
    def environ(self) -> dict[str, str]:
        """What makes google-auth take this for the machine's metadata server."""
        return {"GCE_METADATA_HOST": self.host, "GCE_METADATA_IP": self.host, "GCE_METADATA_ROOT": self.host}

    def inject(self, fault: Fault) -> None:
        """Orders a fault; kinds are `identity`, `token`, `account`, `project`, `oauth`, `iam.id`, `iam.access`."""
        self.faults.order(fault)

    def count(self, kind: str = "*") -> int:
        """How many calls of `kind` (a glob) there were."""
        return self.faults.count(kind)

    def write_key_file(self, path: Path, email: str = f"caller@{PROJECT_ID}.iam.gserviceaccount.com") -> Path:
        """A service account's file whose tokens this OAuth endpoint gives."""
        path.write_text(json.dumps(self.make_key_info(email)))
        return path

    def make_key_info(self, email: str = f"caller@{PROJECT_ID}.iam.gserviceaccount.com") -> dict[str, str]:
        """What a service account's file holds.

        Source: https://cloud.google.com/iam/docs/keys-create-delete
        """
        key = make_key(email)
        return {
            "type": "service_account",
            "project_id": PROJECT_ID,
            "private_key_id": key.key_id,
            "private_key": key.private_pem,
            "client_email": email,
            "client_id": "1",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": f"{self.url}/token",
            "universe_domain": "googleapis.com",
        }

    def write_user_file(self, path: Path, email: str) -> Path:
        """A person's application default credentials, as ``gcloud auth application-default login`` writes them."""
        refresh_token = secrets.token_urlsafe(24)
        self._users[refresh_token] = email
        info = {"type": "authorized_user", "client_id": "1", "client_secret": "x", "refresh_token": refresh_token}
        path.write_text(json.dumps(info | {"token_uri": f"{self.url}/token"}))
        return path

    def read_account(self, request: Request) -> Response:
        """``.../service-accounts/default/...``.

        Source: https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys
        """
        rest = request.path_params["rest"]
        account, _, what = rest.partition("/")
        if account not in ("default", MACHINE_ACCOUNT):
            return PlainTextResponse("not found", 404, _FLAVOR)
        if what == "identity":
            audience = request.query_params.get("audience", "")
            if not audience:
                return PlainTextResponse("non-empty audience parameter required", 400, _FLAVOR)
            full = request.query_params.get("format") == "full"
            token = self.issuer.make_id_token(audience, MACHINE_ACCOUNT, with_email=full)
            return PlainTextResponse(token, headers=_FLAVOR)
        if what == "token":
            token = self.issuer.make_access_token(MACHINE_ACCOUNT)
            answer = {"access_token": token, "expires_in": self.issuer.lifetime_s, "token_type": "Bearer"}
            return JSONResponse(answer, headers=_FLAVOR)
        if what == "email":
            return PlainTextResponse(MACHINE_ACCOUNT, headers=_FLAVOR)
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        return JSONResponse({"aliases": ["default"], "email": MACHINE_ACCOUNT, "scopes": scopes}, headers=_FLAVOR)

    def exchange(self, form: dict[str, str]) -> Response:
        """The OAuth token endpoint.

        Source: https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests
        """
        if form.get("grant_type") == "refresh_token":
            email = self._users.get(form.get("refresh_token", ""))
            if not email:
                return JSONResponse({"error": "invalid_grant", "error_description": "Bad Request"}, 400)
            return self._grant(self.issuer.make_access_token(email))
        if form.get("grant_type") != _JWT_BEARER:
            return JSONResponse({"error": "unsupported_grant_type", "error_description": "Invalid grant_type"}, 400)
        try:
            claims = self._read_assertion(form.get("assertion", ""))
        except ValueError as err:
            return JSONResponse({"error": "invalid_grant", "error_description": f"Invalid JWT: {err}"}, 400)
        if claims.get("target_audience"):
            return JSONResponse({"id_token": self.issuer.make_id_token(claims["target_audience"], claims["iss"])})
        return self._grant(self.issuer.make_access_token(claims["iss"]))

    def _grant(self, token: str) -> Response:
        lifetime = self.issuer.lifetime_s
        return JSONResponse({"access_token": token, "expires_in": lifetime, "token_type": "Bearer"})

    def _read_assertion(self, assertion: str) -> dict[str, Any]:
        """Raises: ValueError: forged, expired, for another endpoint, or valid for more than an hour."""
        middle = assertion.split(".")[1] if assertion.count(".") == 2 else ""
        email = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)) or b"{}").get("iss", "")
        # Google's client names the public endpoint or the one in the key file as audience.
        claims = make_key(email).read(assertion)
        if claims["aud"] not in (f"{self.url}/token", "https://oauth2.googleapis.com/token"):
            raise ValueError(f"audience {claims['aud']}")
        if claims["exp"] - claims["iat"] > 3600:
            raise ValueError("Token must be a short-lived token (60 minutes)")
        return claims

    def impersonate(self, email: str, verb: str, authorization: str, body: dict[str, Any]) -> Response:
        """IAM credentials.

        Source: https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts
        """
        caller = self.issuer.read_access_token(authorization.removeprefix("Bearer "))
        if caller is None:
            message = "Request had invalid authentication credentials."
            return _google_error(401, "UNAUTHENTICATED", message)
        if (caller, email) not in self.may_impersonate:
            wanted = "getOpenIdToken" if verb == "generateIdToken" else "getAccessToken"
            message = f"Permission 'iam.serviceAccounts.{wanted}' denied on resource (or it may not exist)."
            return _google_error(403, "PERMISSION_DENIED", message)
        if verb == "generateIdToken":
            if not body.get("audience"):
                return _google_error(400, "INVALID_ARGUMENT", "Request contains an invalid argument: audience")
            with_email = bool(body.get("includeEmail"))
            return JSONResponse({"token": self.issuer.make_id_token(body["audience"], email, with_email=with_email)})
        if not body.get("scope"):
            return _google_error(400, "INVALID_ARGUMENT", "Request contains an invalid argument: scope")
        expires = datetime.fromtimestamp(int(time.time()) + self.issuer.lifetime_s, UTC)
        token = self.issuer.make_access_token(email)
        return JSONResponse({"accessToken": token, "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})


@contextlib.contextmanager
def start_metadata(*, lifetime_s: int = 3600, port: int = 0) -> Iterator[Metadata]:
    """Starts the endpoints; tokens live `lifetime_s` seconds."""
    metadata = Metadata(Issuer(lifetime_s=lifetime_s))
    with serve_in_thread(_make_app(metadata), port=port) as url:
        metadata.url = url
        yield metadata
        metadata.faults.forget()


def _make_app(metadata: Metadata) -> Starlette:
    async def answer_machine(request: Request) -> Response:
        kind = {"identity": "identity", "token": "token"}.get(request.url.path.rpartition("/")[2], "account")
        kind = "project" if "/project/" in request.url.path else kind
        refused = _refuse(metadata.faults.take(kind, request.url.path))
        if refused:
            return refused
        # Source: https://cloud.google.com/compute/docs/metadata/querying-metadata#parts-of-a-request
        if request.headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in request.headers:
            return PlainTextResponse("Missing Metadata-Flavor:Google header.", 403)
        match request.path_params.get("rest"), request.url.path:
            case _, "/computeMetadata/v1/project/project-id":
                return PlainTextResponse(PROJECT_ID, headers=_FLAVOR)
            case _, "/computeMetadata/v1/project/numeric-project-id":
                return PlainTextResponse("1", headers=_FLAVOR)
            case _, "/computeMetadata/v1/universe/universe-domain":
                return PlainTextResponse("googleapis.com", headers=_FLAVOR)
            case str(), _:
                return metadata.read_account(request)
        return PlainTextResponse("not found", 404, _FLAVOR)

    async def answer_ping(request: Request) -> Response:
        return PlainTextResponse("computeMetadata/", headers=_FLAVOR)

    async def answer_token(request: Request) -> Response:
        refused = _refuse(metadata.faults.take("oauth", "/token"))
        if refused:
            return refused
        return metadata.exchange(dict(parse_qsl((await request.body()).decode())))

    async def answer_iam(request: Request) -> Response:
        email, _, verb = request.path_params["what"].partition(":")
        kind = {"generateIdToken": "iam.id", "generateAccessToken": "iam.access"}.get(verb)
        if kind is None:
            return _google_error(404, "NOT_FOUND", "Method not found.")
        refused = _refuse(metadata.faults.take(kind, email))
        if refused:
            return refused
        return metadata.impersonate(email, verb, request.headers.get("authorization", ""), await request.json())

    async def answer_certs(request: Request) -> Response:
        return JSONResponse(metadata.issuer.certs, headers={"Cache-Control": "public, max-age=3600"})

    return Starlette(
        routes=[
            Route("/", answer_ping),
            Route("/computeMetadata/v1/instance/service-accounts/{rest:path}", answer_machine),
            Route("/computeMetadata/v1/{what:path}", answer_machine),
            Route("/token", answer_token, methods=["POST"]),
            Route("/v1/projects/-/serviceAccounts/{what:path}", answer_iam, methods=["POST"]),
            Route("/oauth2/v1/certs", answer_certs),
        ]
    )


def _refuse(fault: Fault) -> Response | None:
    return PlainTextResponse(f"injected {fault.status}", fault.status, _FLAVOR) if fault.status else None


def _google_error(code: int, status: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message, "status": status}}, code)


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.metadata", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; default: a free one, printed")
    parser.add_argument("--lifetime-s", type=int, default=3600, help="of every token (default: 3600)")
    flags = parser.parse_args()
    metadata = Metadata(Issuer(lifetime_s=flags.lifetime_s))
    listening, metadata.url = listen(flags.port)
    serve_forever(_make_app(metadata), listening)


if __name__ == "__main__":
    main()
