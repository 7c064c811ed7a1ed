"""Reads the digest of the image that a tag names now, from Google's registries, by the Docker Registry HTTP API.

Source: https://docs.docker.com/registry/spec/api/#existing-manifests (HEAD, Docker-Content-Digest)
"""

import re
from typing import TYPE_CHECKING, Any, Final

from google.auth import default
from google.auth import exceptions as auth
from google.auth.transport.requests import AuthorizedSession
from requests import exceptions as http

from switchyard.core.errors import BadSetup, NotFound, SwitchyardError, TryAgain

if TYPE_CHECKING:
    import requests

_IMAGE: Final = re.compile(r"(?P<host>[^/]+)/(?P<path>[^@:]+)(?::(?P<tag>[\w][\w.-]{0,127}))?")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFESTS: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_TIMEOUT_S: Final = 10.0


def is_resolvable(image: str) -> bool:
    """Returns true for a tag (none is ``latest``) in a registry of Google's; no other host ever gets a token."""
    match = _IMAGE.fullmatch(image)
    if match is None:
        return False
    host = match["host"]
    return host.endswith(".pkg.dev") or host == "gcr.io" or host.endswith(".gcr.io")


def open_session(credentials: Any = None) -> "requests.Session":
    """Opens a session with an access token of `credentials`; None: of the application default.

    Raises: BadSetup: there are none."""
    try:
        found = credentials or default(scopes=_SCOPES)[0]
    except auth.DefaultCredentialsError as err:
        raise BadSetup(f"no image's digest can be read without credentials: {err}") from err
    return AuthorizedSession(found)


def read_digest(image: str, session: "requests.Session", *, endpoint: str = "") -> str:
    """Returns `image` by its digest, ``<host>/<path>@sha256:...``; the session has an access token.

    `endpoint` is where to ask; empty: the image's own host, by https. A second call asks again: a tag may have moved.

    Raises:
        NotFound: there is no such image. BadSetup: this identity may not read it. TryAgain: no usable answer.
    """
    match = _IMAGE.fullmatch(image)
    assert match is not None
    url = f"{endpoint or 'https://' + match['host']}/v2/{match['path']}/manifests/{match['tag'] or 'latest'}"
    try:
        answer = session.head(url, headers={"Accept": _MANIFESTS}, timeout=_TIMEOUT_S, allow_redirects=False)
    except (http.RequestException, auth.GoogleAuthError) as err:
        raise TryAgain(f"the digest of {image} was not read: {type(err).__name__}: {err}") from err
    if answer.status_code != 200:
        raise _to_error(image, answer.status_code)
    digest = answer.headers.get("Docker-Content-Digest", "")
    if not _DIGEST.fullmatch(digest):
        raise TryAgain(f"the digest of {image} was not read: the registry names none (got {digest!r})")
    return f"{match['host']}/{match['path']}@{digest}"


def _to_error(image: str, status: int) -> SwitchyardError:
    where = f"the digest of {image} was not read"
    if status == 404:
        return NotFound(f"{where}: the registry has no such image (404). Push it, or name another (TRAINER_IMAGE)")
    if status in (401, 403):
        return BadSetup(f"{where}: this identity needs roles/artifactregistry.reader on the repository ({status})")
    return TryAgain(f"{where}: the registry answered {status}")
