"""Holds who asks Google, and where: credentials and addresses of all adapters, and calls by google-api-python-client.

The package contains the documents of the APIs, so nothing is fetched to build a client. httplib2 is not safe for
threads, so each call has its own connection.
"""

import functools
import http.client
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import urlsplit

import google_auth_httplib2
import httplib2
from google.api_core.client_options import ClientOptions
from google.auth import default, exceptions, impersonated_credentials
from google.auth.credentials import AnonymousCredentials, Credentials
from googleapiclient.discovery import build

from switchyard.clients.google.decommission.errors import translated
from switchyard.clients.google.identity import Caller
from switchyard.core.errors import BadSetup, TryAgain

TIMEOUT_S: Final = 60.0
SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_SERVICE_PATHS: Final = {"storage": "/storage/v1/", "bigquery": "/bigquery/v2/"}
"""An address in place of Google's drops these from what the client asks for, so it must have them itself."""
_PARTIAL: Final = ("unreachable", "warnings", "executionErrors")
"""The keys with which a list says that it is not whole. Source: the list responses in the discovery documents."""


@dataclass(frozen=True)
class Access:
    """Who asks, and where.

    Args:
        credentials: none are shown in a repr.
        endpoint: an address in place of all of Google's, e.g. ``http://127.0.0.1:8080``; empty: Google's own.
    """

    credentials: Any
    endpoint: str = ""

    def __repr__(self) -> str:
        return f"Access(endpoint={self.endpoint!r})"

    def open_http(self) -> Any:
        """Opens a connection for one call. Close it."""
        plain = _Once(timeout=TIMEOUT_S, **({"proxy_info": None} if self.endpoint else {}))
        if isinstance(self.credentials, AnonymousCredentials):
            return plain
        return google_auth_httplib2.AuthorizedHttp(self.credentials, http=plain)


def open_access(*, endpoint: str = "", caller: Caller | None = None, credentials: Any = None) -> Access:
    """Finds an identity, and returns who asks Google, and where.

    Args:
        endpoint: an address in place of all of Google's; without credentials, the caller stays anonymous there.
        caller: whom to impersonate, and whether gcloud may be asked for a token.
        credentials: instead of `caller`.

    Raises: BadSetup: no identity can be found, or plain http to another machine. TryAgain: Google does not answer.
    """
    if endpoint:
        parts = urlsplit(endpoint)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise BadSetup(
                f"the address in place of Google's must be https://..., or http:// on this machine; got {endpoint!r}"
            )
        return Access(credentials or AnonymousCredentials(), endpoint.rstrip("/"))
    if credentials is not None:
        return Access(credentials)
    with translated("find an identity for", "Google Cloud", ""):
        return Access(_find_credentials(caller or Caller()))


def _find_credentials(caller: Caller) -> Credentials:
    try:
        found, _ = default(scopes=SCOPES)
    except exceptions.DefaultCredentialsError:
        if not caller.gcloud or caller.impersonate:
            raise
        return GcloudAccess()
    if caller.impersonate:
        return impersonated_credentials.Credentials(
            source_credentials=found, target_principal=caller.impersonate, target_scopes=list(SCOPES)
        )
    return found


class GcloudAccess(Credentials):
    """The token that ``gcloud auth print-access-token`` prints. gcloud gives no expiry, so it is asked again soon."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def refresh(self, request: object) -> None:
        """Asks gcloud. Raises: google.auth.exceptions.RefreshError: it is missing, or no one is logged in."""
        del request
        command = ["gcloud", "auth", "print-access-token", "--quiet"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as err:
            raise exceptions.RefreshError(f"gcloud cannot be run: {err}") from err
        if done.returncode:
            raise exceptions.RefreshError(f"gcloud auth print-access-token: {done.stderr.strip()}")
        self.token = done.stdout.strip()
        # gcloud renews a token five minutes before its end. google-auth compares it with a naive time, which is UTC.
        self.expiry = (datetime.now(UTC) + timedelta(minutes=4, seconds=30)).replace(tzinfo=None)


class Api:
    """One of Google's APIs. Threads may share it. Nothing is tried twice here: a task does that."""

    def __init__(self, access: Access, name: str, version: str) -> None:
        self._access = access
        self._client = _build(name, version, access.endpoint and access.endpoint + _SERVICE_PATHS.get(name, "/"))

    def call(self, make: Callable[[Any], Any], *, action: str, where: str, permission: str) -> dict[str, Any]:
        """Returns the API's answer to the request that `make` makes of the client. Raises: see `errors.translated`."""
        with translated(action, where, permission):
            connection = self._access.open_http()
            try:
                return cast("dict[str, Any]", make(self._client).execute(http=connection, num_retries=0) or {})
            finally:
                connection.close()

    def list_all(
        self, make: Callable[[Any, str | None], Any], key: str, *, where: str, permission: str
    ) -> list[dict[str, Any]]:
        """Returns all items of a list, of all its pages. Raises: TryAgain: the list says that it is not whole."""
        items: list[dict[str, Any]] = []
        token: str | None = None
        while True:
            page = self.call(
                functools.partial(_ask_page, make, token), action="list", where=where, permission=permission
            )
            check_whole(page, where)
            items += page.get(key, [])
            token = page.get("nextPageToken")
            if not token:
                return items


@functools.lru_cache(maxsize=64)
def _build(name: str, version: str, endpoint: str) -> Any:
    """Builds a client, which holds only its document: each call brings its own connection."""
    client = build(
        name,
        version,
        http=httplib2.Http(),  # none of its calls goes through it
        static_discovery=True,
        cache_discovery=False,
        client_options=ClientOptions(api_endpoint=endpoint or None),
    )
    return _Kept(client)


class _Kept:
    """A client with collections that are made once. Google's makes each of the document again with every call."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource
        self._made: dict[str, _Kept] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._resource, name)
        if not getattr(found, "__is_resource__", False):
            return found
        if name not in self._made:
            self._made[name] = _Kept(found())
        return lambda: self._made[name]


def _ask_page(make: Callable[[Any, str | None], Any], token: str | None, client: Any) -> Any:
    return make(client, token)


def check_whole(page: Mapping[str, Any], where: str) -> None:
    """Raises TryAgain if a page names places that it could not ask."""
    for name in _PARTIAL:
        if page.get(name):
            raise TryAgain(f"the list of {where} is not whole: {name}: {page[name]}")


class _Once(httplib2.Http):  # type: ignore[misc] # as below
    """A connection for one request, which httplib2 must not repeat.

    httplib2 sends a request again when the connection ends without an answer, whatever its number of retries: it takes
    the connection for one that was idle too long. Ours are always new, so the request may have had its effect.
    Source: httplib2/__init__.py, ``_conn_request`` (BadStatusLine)."""

    def request(self, uri: str, *args: Any, **kwargs: Any) -> Any:
        """Sends the request as httplib2 does, over a connection that is used once."""
        if kwargs.get("connection_type") is None:
            kwargs["connection_type"] = _OnceSecure if uri.startswith("https:") else _OncePlain
        return super().request(uri, *args, **kwargs)


class _OncePlain(httplib2.HTTPConnectionWithTimeout):  # type: ignore[misc] # httplib2 ships no types
    def getresponse(self) -> Any:
        try:
            return super().getresponse()
        except (http.client.BadStatusLine, http.client.ResponseNotReady) as err:
            raise ConnectionResetError("the connection ended without an answer") from err


class _OnceSecure(httplib2.HTTPSConnectionWithTimeout):  # type: ignore[misc] # as above
    def getresponse(self) -> Any:
        try:
            return super().getresponse()
        except (http.client.BadStatusLine, http.client.ResponseNotReady) as err:
            raise ConnectionResetError("the connection ended without an answer") from err


def wait(poll: Callable[[], Any], what: str, *, pause: Callable[[float], None], patience_s: float) -> None:
    """Returns when `poll` says that an operation is done.

    Raises: TryAgain: it takes longer than `patience_s`, or it has failed. The caller begins again, and finds what is
    there already."""
    waited = 0.0
    while True:
        progress = poll()
        if progress.done:
            if progress.problem:
                raise TryAgain(f"{what} failed: {progress.problem}")
            return
        if waited >= patience_s:
            raise TryAgain(f"{what} is not over after {patience_s:g} s")
        pause(2.0)
        waited += 2.0
