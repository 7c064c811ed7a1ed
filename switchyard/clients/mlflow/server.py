"""Opens the MLflow server that the settings name, with what proves to it who calls."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import requests

from switchyard.clients.mlflow.http import MlflowServer, Patience
from switchyard.clients.mlflow.rest_store import RestStore
from switchyard.clients.settings import Settings, is_folder
from switchyard.core.errors import BadSetup

GOOGLE_ID_TOKEN: Final = "google-id-token"  # noqa: S105 - the name of a way, not a token
"""A value of MLFLOW_TRACKING_AUTH; also the name of our plugin for MLflow's own client."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """An MLflow server and how it knows us; the names are those of the variables MLFLOW_TRACKING_..."""

    uri: str
    auth: str = ""
    token: str = ""
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Shows it without secrets."""
        return f"Access(uri={self.uri!r}, auth={self.auth!r}, username={self.username!r})"


def open_server(settings: Settings, open_identified: Callable[[], requests.Session]) -> RestStore:
    """Opens the server at MLFLOW_TRACKING_URI, to read from. Args and Raises: as `open_http`."""
    access = Access(
        uri=settings.mlflow_tracking_uri,
        auth=settings.mlflow_tracking_auth,
        token=settings.mlflow_tracking_token,
        username=settings.mlflow_tracking_username,
        password=settings.mlflow_tracking_password,
    )
    return RestStore(open_http(access, open_identified))


def open_http(
    access: Access, open_identified: Callable[[], requests.Session], *, patience: Patience | None = None
) -> MlflowServer:
    """Opens the server of `access`.

    Args:
        open_identified: makes a session with a Google ID token for that server on each call.

    Raises:
        BadSetup: see `check_access`.
    """
    check_access(access)
    open_session = open_identified if access.auth else lambda: _open_session(access)
    return MlflowServer(access.uri, open_session, patience=patience)


def check_access(access: Access) -> None:
    """Raises BadSetup if the address is wrong, or the settings contradict each other."""
    if not re.fullmatch(r"https?://[^/?#\s@]+(/[^?#\s]*)?", access.uri):
        raise BadSetup(f"MLFLOW_TRACKING_URI must be {_to_wanted(access.uri)}")
    if access.auth not in ("", GOOGLE_ID_TOKEN):
        raise BadSetup(f"MLFLOW_TRACKING_AUTH must be {GOOGLE_ID_TOKEN}, or not set; got {access.auth!r}")


def _to_wanted(uri: str) -> str:
    if is_folder(uri):
        return f"a server's http(s)://<host> here: the folder {uri} is only read, to log to it start `mlflow server`"
    if uri.startswith("databricks"):
        return (
            "http(s)://<host> also of a hosted server: what is set names a profile of Databricks' own client. Set "
            "https://<workspace's host> and MLFLOW_TRACKING_TOKEN"
        )
    return (
        "http(s)://<host>, without a name or password in it (see MLFLOW_TRACKING_USERNAME), or, to read from, MLflow's "
        "folder (mlruns): a path, file:///<path> or gs://<bucket>/<path>. A database's URL belongs into "
        "MLFLOW_BACKEND_STORE_URI; of any other store run `mlflow server` and name its address"
    )


def _open_session(access: Access) -> requests.Session:
    """Sends what MLflow's own client would. Source: mlflow/utils/rest_utils.py and credentials.py, 2.9.2."""
    session = requests.Session()
    session.auth = _as_it_is  # else requests would send what ~/.netrc has for that host
    if access.username:
        session.auth = (access.username, access.password)
    elif access.token:
        session.auth = partial(_with_bearer, access.token)
    return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _with_bearer(token: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
