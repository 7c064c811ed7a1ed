"""The serving command line: parses, checks what can be checked before the first request, and runs the server."""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import uvicorn

from serving.access import check_may_listen
from serving.access_log import hide_tokens_in_logs
from serving.app import create_app
from serving.listening import listen
from switchyard.clients.connect import connect
from switchyard.clients.prefect.analytics import switch_off_analytics
from switchyard.core.errors import SwitchyardError
from switchyard.core.runs.flags import FlagParser

LONGEST_HEAD: Final = 512 * 1024
"""Bytes of a request's address and headers. uvicorn's own 64 KiB answer a filter of 10,000 terms with `Invalid HTTP
request received`, and hang up before it was read."""


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m serving") -> int:
    """Serves until interrupted. The exit status: 0 stopped, 2 could not start (stderr says why and what to do).

    `arguments` are the process's own by default; `prog` is what the person typed.
    """
    parser = FlagParser(prog=prog, description="Serves published results: the JSON API and the pages of each run.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0: a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--only-events", action="store_true", help="serve the endpoint of Pub/Sub's pushes, and no page and no API"
    )
    flags = parser.parse_args(arguments)
    switch_off_analytics()  # create_app imports Prefect where pushes are taken
    try:
        outside = connect()
        check_may_listen(flags.host, outside.settings, only_events=flags.only_events)
        _ = outside.histories  # an old schema ends the start; a database that is away for now does not
        app = create_app(outside, only_events=flags.only_events)
        listener = listen(flags.host, flags.port)
    except (SwitchyardError, OSError, OverflowError) as err:
        print(f"serving cannot start: {err}", file=sys.stderr)
        return 2
    with listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"Serving http://{shown}:{port}/quick-tests/ (Ctrl-C stops)", flush=True)
        config = uvicorn.Config(app, log_level="info", server_header=False, h11_max_incomplete_event_size=LONGEST_HEAD)
        # The log is the access log, one line a request: of the server itself, warnings and errors alone.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        hide_tokens_in_logs()
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after it has stopped in good order
            uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
