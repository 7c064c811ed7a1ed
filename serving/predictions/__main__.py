"""The command line of the predictions: reads the arguments, checks the settings, and runs the server.

numpy's own threads are switched off before numpy is loaded: with two threads on a busy machine, one matrix product took
ten times as long as with one. To use more cores, start more workers.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

_BLAS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
for _name in _BLAS:
    os.environ.setdefault(_name, "1")

import uvicorn  # noqa: E402  (after the threads are switched off)
from uvicorn.supervisors import Multiprocess  # noqa: E402

from serving.access import check_may_listen  # noqa: E402
from serving.access_log import hide_tokens_in_logs  # noqa: E402
from serving.listening import listen  # noqa: E402
from serving.predictions.app import Options, create_app, create_from_environment  # noqa: E402
from switchyard.clients.connect import connect  # noqa: E402
from switchyard.clients.settings import Settings, list_unused  # noqa: E402
from switchyard.core.errors import SwitchyardError  # noqa: E402
from switchyard.core.predictions.sources import read_model_uri  # noqa: E402
from switchyard.core.runs.flags import FlagParser  # noqa: E402

DEFAULT_PORT: Final = 8080
MAX_WORKERS: Final = 64


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m serving.predictions") -> int:
    """Answers requests until interrupted. Exit status: 0 stopped, 2 could not start (stderr says why and what to do).

    `arguments` are the process's own by default; `prog` is the command as the user typed it.
    """
    flags = _make_parser(prog).parse_args(arguments)
    try:
        outside = connect()
        host, port = _choose_address(flags.host, flags.port, outside.settings)
        check_may_listen(host, outside.settings, only_events=False)
        if flags.model:
            read_model_uri(flags.model)
        options = Options(model=flags.model, rate=flags.rate, workers=flags.workers)
        app = create_app(outside, options)
        listener = listen(host, port)
    except (SwitchyardError, OSError, OverflowError) as err:
        print(f"predictions cannot start: {err}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    for said in list_unused():
        print(said, file=sys.stderr)
    with listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"Answering http://{shown}:{port}/predict (Ctrl-C stops)", flush=True)
        config = uvicorn.Config(
            app if flags.workers == 1 else partial(create_from_environment, options),
            factory=flags.workers > 1,
            workers=flags.workers,
            interface="asgi3",
            access_log=flags.access_log,
            log_level="info" if flags.access_log else "warning",
            server_header=False,
        )
        hide_tokens_in_logs()
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after an orderly stop
            if flags.workers == 1:
                uvicorn.Server(config).run(sockets=[listener])
            else:
                Multiprocess(config, sockets=[listener]).run()
    return 0


def _make_parser(prog: str) -> FlagParser:
    parser = FlagParser(prog=prog, description="Answers with the champion of a model: POST /predict.")
    parser.add_argument(
        "--model",
        default="",
        help="the model: models:/<name>/Production, /Staging, /<version>, models:/<name>@<alias>, or <name> alone for "
        "its champion (default: what the settings name, in the order of docs/predict.md; else the only model)",
    )
    parser.add_argument("--host", default="", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help=f"port to listen on; 0: a free one (default: PORT or {DEFAULT_PORT})")
    parser.add_argument("--workers", type=_to_workers, default=1, help="processes that answer (default: %(default)s)")
    parser.add_argument(
        "--rate", default="", help="requests of one caller: 100/second, 5000/minute, none (default: PREDICT_RATE)"
    )
    parser.add_argument("--access-log", action="store_true", help="print one line for each request")
    return parser


def _to_workers(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_WORKERS:
        raise ValueError
    return number


def _choose_address(host: str, port: int | None, settings: Settings) -> tuple[str, int]:
    """Returns host and port: the flags', else Vertex AI's (all interfaces), else only this machine, and PORT."""
    if settings.aip_http_port:
        return host or "0.0.0.0", settings.aip_http_port if port is None else port  # noqa: S104  (Vertex AI's contract)
    return host or "127.0.0.1", (settings.port or DEFAULT_PORT) if port is None else port


if __name__ == "__main__":
    sys.exit(main())
