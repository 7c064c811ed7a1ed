"""Which Prefect the command line uses: the one of a running `make up`, else one of this state folder's own."""

import os
from pathlib import Path

from switchyard.clients.connect import connect
from switchyard.clients.local_servers import find_local_servers, to_prefect_defaults
from switchyard.clients.prefect.analytics import switch_off_analytics


def prepare_prefect(*, quiet: bool) -> None:
    """Sets what Prefect reads when it is imported; a variable that is set already stays (a team's own server, say), but
    for those that would let Prefect send something home.

    `quiet` keeps Prefect's own log off the terminal (it stays in Prefect's UI): an error is said once, by us.

    Raises:
        BadSetup: our own settings are wrong.
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
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # Prefect makes its own folder, but none above it.
    Path(os.environ["PREFECT_HOME"]).parent.mkdir(parents=True, exist_ok=True)
