"""Says which servers the command line uses: those of a running `make up`, else a Prefect server of its own."""

import os
import re
from pathlib import Path
from typing import Final

from switchyard.clients.connect import connect
from switchyard.clients.local_servers import find_local_servers, to_prefect_defaults
from switchyard.clients.prefect.analytics import switch_off_analytics
from switchyard.clients.prefect.temporary_server import start_temporary_server

_own_servers: Final[set[str]] = set()
_IN_ENV_FILE: Final = re.compile(r"^\s*(export\s+)?PREFECT_(API_URL|PROFILE|PROFILES_PATH)\s*=\s*\S", re.MULTILINE)


def is_without_server() -> bool:
    """Returns True if no Prefect server is named, so that a flow run would need one that ends with it.

    Prefect is not imported: if one of the files that it reads may name a server, the answer is False, and Prefect
    itself decides. Source: https://docs.prefect.io/v3/concepts/settings-and-profiles

    Raises:
        BadSetup: our own settings are wrong.
    """
    if any(os.environ.get(name) for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")):
        return False
    settings = connect().settings
    home = Path(os.environ.get("PREFECT_HOME") or to_prefect_defaults(settings)["PREFECT_HOME"])
    if Path("prefect.toml").exists() or (home / "profiles.toml").exists():
        return False
    if "[tool.prefect" in _read(Path("pyproject.toml")) or _IN_ENV_FILE.search(_read(Path(".env"))):
        return False
    return find_local_servers(settings) is None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def prepare_prefect(*, quiet: bool) -> None:
    """Sets what Prefect reads when it is imported.

    A variable that is set already stays (a team's own server, say), except those that would let Prefect send data home.

    `quiet` keeps Prefect's own log off the terminal (it stays in Prefect's UI): we say an error once.

    If no server is named, it starts one for this process.

    Raises:
        BadSetup: our own settings are wrong, or that server does not start.
    """
    switch_off_analytics()
    settings = connect().settings
    defaults = to_prefect_defaults(settings)
    if quiet:
        defaults["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    servers = find_local_servers(settings)
    if servers is not None:
        # A second server on the same SQLite file would fight the first one for its lock.
        defaults["PREFECT_API_URL"] = servers.prefect_api_url
        if not os.environ.get("SERVING_URL"):  # an empty one counts as not set
            os.environ["SERVING_URL"] = servers.serving_url
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # Prefect makes its own folder, but none above it.
    home = Path(os.environ["PREFECT_HOME"])
    home.parent.mkdir(parents=True, exist_ok=True)
    if not os.environ.get("PREFECT_API_URL"):
        url = start_temporary_server(home)
        if url:
            os.environ["PREFECT_API_URL"] = url
            _own_servers.add(url)


def is_own_server() -> bool:
    """Returns True if the Prefect server is one that this process has started and that no other uses."""
    return os.environ.get("PREFECT_API_URL") in _own_servers
