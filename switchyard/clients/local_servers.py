"""Finds the servers that `make up` runs on this machine: where they are, and whether they answer."""

import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from switchyard.clients.settings import Settings

_TIMEOUT_S = 2.0
_PAGE_TIMEOUT_S = 30.0


class LocalServers(msgspec.Struct, frozen=True, kw_only=True):
    """What `make up` wrote about itself."""

    pid: int
    prefect_api_url: str
    serving_url: str


def to_note_path(settings: Settings) -> Path:
    """Returns the file in which a running `make up` says where its servers are."""
    return Path(settings.state_dir) / "up.json"


def find_local_servers(settings: Settings) -> LocalServers | None:
    """Returns the servers of a running `make up` of this state folder; None: its Prefect server does not answer.

    A note that a killed one left behind counts for nothing."""
    try:
        note = msgspec.json.decode(to_note_path(settings).read_bytes(), type=LocalServers)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return note if is_answering(f"{note.prefect_api_url}/health") else None


def is_answering(url: str) -> bool:
    """Returns true if a GET of `url` answers 200 within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310  (settings' own http addresses)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def find_page_problem(url: str, token: str = "") -> str:
    """Returns why a GET of `url`, a page of serving, does not answer 200 in time; empty: it does.

    `token` is API_TOKEN, if serving asks for one."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_PAGE_TIMEOUT_S) as answer:  # noqa: S310  (settings' own address)
            return "" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as err:
        err.close()
        return f"{url} answered status {err.code}"
    except (urllib.error.URLError, OSError, ValueError) as err:
        return f"{url} did not answer: {err}"


def to_prefect_defaults(settings: Settings) -> dict[str, str]:
    """Returns the environment in which Prefect keeps to this state folder, not to the user's profile and servers."""
    return {
        "PREFECT_HOME": str(Path(settings.state_dir) / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
