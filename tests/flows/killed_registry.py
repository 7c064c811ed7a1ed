"""Runs a flow of the registry that is killed with SIGKILL right before an outside effect, each in a process of its own.

    python -m tests.flows.killed_registry <folder> <flow> <parameters, JSON> <effect> ...

Each effect has a folder of its own, ``<folder>/<flow>-<effect>``, that holds the state the flow begins with, and that
which it died with. The processes are forked after the imports, which take longer than a flow.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flows.ingest
import flows.promote
import flows.register
import flows.rollback
from switchyard.clients import connect
from switchyard.clients.results.open import open_results
from switchyard.clients.settings import Settings
from switchyard.services import announcing

FLOWS: dict[str, Callable[..., Any]] = {
    "register": flows.register.register,
    "promote": flows.promote.promote,
    "rollback": flows.rollback.rollback,
    "ingest": flows.ingest.ingest,
}


class Deadly:
    """A port before whose method `effect` the process is killed."""

    def __init__(self, port: Any, effect: str) -> None:
        self._port, self._effect = port, effect

    def __getattr__(self, name: str) -> Any:
        return die if name == self._effect else getattr(self._port, name)


def die(*_: Any, **__: Any) -> Any:
    """As if from outside."""
    os.kill(os.getpid(), signal.SIGKILL)


def run(flow: str, folder: Path, effect: str, parameters: dict[str, Any]) -> None:
    """The flow, up to the effect."""
    os.environ["STATE_DIR"] = str(folder / "state")
    os.environ["LIVE_HISTORY"] = "no"
    opened = open_results(connect.connect().settings.results_url)
    ports = {name: Deadly(getattr(opened, name), effect) for name in ("models", "histories", "jobs")}
    deadly = replace(opened, **ports)  # type: ignore[arg-type]  # each stands for its port
    open_objects = vars(connect)["open_objects"]

    def results(settings: Settings) -> Any:
        return deadly

    def objects(uri: str, **named: Any) -> Any:
        return Deadly(open_objects(uri, **named), effect)

    connect._open_results = results  # type: ignore[assignment]  # as the tests' conftest does
    vars(connect)["open_objects"] = objects
    if effect.startswith("emit"):
        setattr(announcing, effect, die)
    FLOWS[flow](**parameters)


def main() -> None:
    folder, flow, parameters, *effects = sys.argv[1:]
    statuses = []
    for effect in effects:
        child = os.fork()
        if child == 0:
            try:
                own = Path(folder) / f"{flow}-{effect}"
                run(flow, own, effect, {**json.loads(parameters), **json.loads((own / "more.json").read_text())})
            finally:
                os._exit(0)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
