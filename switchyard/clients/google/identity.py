"""Gets ID tokens for calls to services on Cloud Run. A token proves to the service who calls.

Tokens come from google-auth's own classes, which keep one until shortly before it expires. They read the environment
(``GOOGLE_APPLICATION_CREDENTIALS``, the metadata server's address); nothing else here does.
"""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
import requests
from google.auth import default, exceptions, impersonated_credentials, jwt
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import id_token, service_account
from requests.auth import AuthBase

from switchyard.core.errors import BadRequest, BadSetup, TryAgain

TIMEOUT_S: Final = 60.0
"""The time-out of a call that sets none: a service that starts cold may take half of it."""
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. By default: the service account in the file of GOOGLE_APPLICATION_CREDENTIALS, else this machine's.

    Args:
        impersonate: the service account to call as; the default credentials (a person's too) need the role
            ``roles/iam.serviceAccountTokenCreator`` on it.
        gcloud: when nothing else gives a token, ask ``gcloud``: for a developer's machine.
    """

    impersonate: str = ""
    gcloud: bool = False


def open_session(
    url: str, *, audience: str = "", caller: Caller | None = None, credentials: Any = None
) -> requests.Session:
    """Opens a session for calls to the service at `url`: each has a valid token, and a 401 gets one fresh token.

    Args:
        url: any address of the service. Calls to another origin are refused: a token is for one service only.
        audience: the service that the token is for; default: its own address, which Cloud Run expects.
        caller: who calls.
        credentials: a service account's, from `clients.prefect.credentials.load_credentials`; instead of `caller`.

    Raises:
        BadSetup: no identity can be found. TryAgain: Google does not answer. BadRequest: plain http to another machine.
        Calls raise BadSetup and TryAgain too, when a token cannot be fetched.
    """
    origin = to_origin(url)
    return _Session(open_credentials(audience or origin, caller=caller, credentials=credentials), origin)


class IdTokenAuth(AuthBase):
    """Does what `open_session` does for a session that other code makes (``requests``' ``auth=``); same arguments.

    Requests to another origin than `url`'s go out without a token. Threads may share it.
    """

    def __init__(self, url: str, *, audience: str = "", caller: Caller | None = None, credentials: Any = None) -> None:
        self._origin = to_origin(url)
        self._credentials = open_credentials(audience or self._origin, caller=caller, credentials=credentials)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds the token. Fetches it first if there is none or it expires soon."""
        if request.url and _origin_of(request.url) == self._origin:
            with _translated(self._origin):
                self._credentials.before_request(Request(), request.method, request.url, request.headers)
            request.register_hook("response", self._try_once_more)
        return request

    def _try_once_more(self, response: requests.Response, **send_arguments: Any) -> requests.Response:
        """Tries a 401 once more with a fresh token: the service may have other keys now, or its clock may differ."""
        request = response.request
        if response.status_code != 401 or _origin_of(request.url or "") != self._origin:
            return response
        if hasattr(request.body, "read"):  # a stream that is used up
            return response
        _ = response.content  # read to its end, so that the connection can be used again
        response.close()
        again = request.copy()
        again.hooks["response"] = [hook for hook in again.hooks["response"] if hook != self._try_once_more]
        with _translated(self._origin):
            self._credentials.refresh(Request())
            self._credentials.apply(again.headers)
        answer: requests.Response = response.connection.send(again, **send_arguments)
        answer.history.append(response)
        answer.request = again
        return answer


def open_credentials(audience: str, *, caller: Caller | None = None, credentials: Any = None) -> Credentials:
    """Returns Google's credentials with an ID token for `audience`; they keep it and renew it.

    Raises: BadSetup, TryAgain: see `open_session`.
    """
    caller = caller or Caller()
    with _translated(audience):
        if credentials is not None:
            return _from_key(credentials, audience)
        if caller.impersonate:
            return _impersonate(caller.impersonate, audience)
        try:
            return cast("Credentials", id_token.fetch_id_token_credentials(audience, request=Request()))
        except exceptions.DefaultCredentialsError:
            if not caller.gcloud:
                raise
    return GcloudCredentials(audience)


class GcloudCredentials(Credentials):
    """The token that ``gcloud auth print-identity-token`` prints, kept until it expires."""

    def __init__(self, audience: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._audience = audience

    def refresh(self, request: object) -> None:
        """Asks gcloud, which takes seconds.

        Only a service account may name an audience. Cloud Run also takes a person's token without one.

        Raises:
            google.auth.exceptions.RefreshError: gcloud is missing, or no one is logged in.
        """
        del request
        problem = ""
        for flags in ([f"--audiences={self._audience}"], []):
            command = ["gcloud", "auth", "print-identity-token", "--quiet", *flags]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
            except (OSError, subprocess.TimeoutExpired) as err:
                raise exceptions.RefreshError(f"gcloud cannot be run: {err}") from err
            if done.returncode == 0:
                self.token = done.stdout.strip()
                claims: Mapping[str, Any] = jwt.decode(self.token, verify=False)
                # google-auth compares it with a naive time, which is UTC.
                self.expiry = datetime.fromtimestamp(claims["exp"], UTC).replace(tzinfo=None)
                return
            problem = done.stderr.strip() or f"exit status {done.returncode}"
        raise exceptions.RefreshError(f"gcloud auth print-identity-token: {problem}")


def to_origin(url: str) -> str:
    """Returns ``https://host[:port]`` of `url`. Raises: BadRequest: not http(s), or plain http to another machine."""
    parts = urlsplit(url)
    plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise BadRequest(f"a token is only sent by https, or http to this machine; got {_origin_of(url) or url!r}")
    return _origin_of(url)


class _Session(AuthorizedSession):
    def __init__(self, credentials: Credentials, origin: str) -> None:
        super().__init__(credentials, max_refresh_attempts=1)  # type: ignore[no-untyped-call]
        self._origin = origin

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        if _origin_of(url) != self._origin:
            raise BadRequest(
                f"this session's token is for {self._origin} alone; it cannot be sent to {_origin_of(url)}"
            )
        with _translated(self._origin):
            answer = super().request(method, url, *args, **{"timeout": TIMEOUT_S, **kwargs})  # type: ignore[no-untyped-call]
        return cast("requests.Response", answer)


@contextlib.contextmanager
def _translated(audience: str) -> Iterator[None]:
    try:
        yield
    except exceptions.DefaultCredentialsError as err:
        raise BadSetup(
            f"calls to {audience} need an identity, and none was found ({_first_line(err)}). Run on a machine that has "
            "a service account, set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, impersonate one "
            "(IDENTITY_SERVICE_ACCOUNT), or on your own machine set IDENTITY_FROM_GCLOUD=yes"
        ) from err
    except exceptions.GoogleAuthError as err:
        if isinstance(err, exceptions.TransportError) or err.retryable:
            raise TryAgain(f"no ID token for {audience} could be fetched: {_first_line(err)}") from err
        raise BadSetup(f"Google refused an ID token for {audience}: {_first_line(err)}") from err


def _first_line(err: BaseException) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[0][:300]


def _from_key(credentials: Any, audience: str) -> Credentials:
    if not isinstance(credentials, service_account.Credentials):
        raise BadSetup(
            f"calls to {audience} need a service account's key, or no credentials block at all; "
            f"got {type(credentials).__name__}"
        )
    return service_account.IDTokenCredentials(
        credentials.signer, credentials.service_account_email, credentials._token_uri, audience
    )


def _impersonate(principal: str, audience: str) -> Credentials:
    source, _ = default(scopes=_SCOPES)
    target = impersonated_credentials.Credentials(
        source_credentials=source, target_principal=principal, target_scopes=list(_SCOPES)
    )
    return impersonated_credentials.IDTokenCredentials(target, target_audience=audience, include_email=True)


def _origin_of(url: str) -> str:
    """Returns the origin without a name and password; with the port, even if it is the scheme's own."""
    parts = urlsplit(url)
    if not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
