"""Opens the MLflow server that the settings name, with what proves to it who calls."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

import requests

from clients.mlflow_http import MlflowServer
from clients.mlflow_rest import RestTracking
from clients.settings import Settings
from history.errors import BadSetup

GOOGLE_ID_TOKEN: Final = "google-id-token"  # noqa: S105 - the name of a way, not a token
"""For MLFLOW_TRACKING_AUTH; also the name of our plugin for MLflow's own client."""


def open_server(settings: Settings, open_identified: Callable[[], requests.Session]) -> RestTracking:
    """The server at MLFLOW_TRACKING_URI.

    Args:
        open_identified: makes a session whose calls bear a Google ID token for that server.

    Raises:
        BadSetup: the address is none, or the settings contradict each other.
    """
    uri = settings.mlflow_tracking_uri
    if not re.fullmatch(r"https?://[^/?#\s@]+(/[^?#\s]*)?", uri):
        raise BadSetup(
            "MLFLOW_TRACKING_URI must be http(s)://<host>, without a name or password in it (see "
            "MLFLOW_TRACKING_USERNAME); a database's URL belongs into MLFLOW_BACKEND_STORE_URI"
        )
    way = settings.mlflow_tracking_auth
    if way not in ("", GOOGLE_ID_TOKEN):
        raise BadSetup(f"MLFLOW_TRACKING_AUTH must be {GOOGLE_ID_TOKEN}, or not set; got {way!r}")
    return RestTracking(MlflowServer(uri, open_identified if way else lambda: _open_session(settings)))


def _open_session(settings: Settings) -> requests.Session:
    """With what MLflow's own client would send. Source: mlflow/utils/rest_utils.py and credentials.py, 2.9.2."""
    session = requests.Session()
    session.auth = _as_it_is  # of a session without, requests would send what ~/.netrc has for that host
    if settings.mlflow_tracking_username:
        session.auth = (settings.mlflow_tracking_username, settings.mlflow_tracking_password)
    elif settings.mlflow_tracking_token:
        session.auth = partial(_with_bearer, settings.mlflow_tracking_token)
    return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _with_bearer(token: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
