"""Runs flows that are killed with SIGKILL right before their n-th outside effect, each in a process of its own.

    python -m tests.flows.killed_flows <folder> <flow> <first> <last>

A folder ``<folder>/<flow>-<n>`` holds the state of the flow that died before its n-th effect (from 1). Prints one JSON
line a flow: the effects that it had. The processes are forked after the imports, which take longer than a flow.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import flows.ingest
import flows.reconcile
import flows.train
from switchyard.clients import connect
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.results.open import open_results
from switchyard.clients.settings import Settings
from switchyard.core.errors import SwitchyardError

EFFECTS = {
    "create_run", "claim_job", "record_job", "claim_ended_event", "note_completed_event", "end_run", "record_error",
    "publish", "write_ledger", "submit", "cancel",
}  # fmt: skip


class Counted:
    """A port whose effects are counted, and before whose n-th the process is killed."""

    done: ClassVar[list[str]] = []
    die_before: int = 0
    log: Path

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._port, name)
        if name not in EFFECTS:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            Counted.done.append(name)
            Counted.log.write_text(json.dumps(Counted.done))
            if len(Counted.done) == Counted.die_before:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*args, **kwargs)

        return call


def run(flow: str, folder: Path, n: int) -> None:
    """The flow's parameters are such that the same ones find its run again."""
    os.environ["STATE_DIR"] = str(folder / "state")
    # Whether a look falls between a snapshot and the end is chance: test_live.py kills those who publish.
    os.environ["LIVE_HISTORY"] = "no"
    Counted.die_before, Counted.log = n, folder / "effects.json"
    settings = connect.connect().settings
    command = (sys.executable, "-m", "tests.flows.scripted_trainer")
    opened = open_results(settings.results_url)
    ports = {name: Counted(getattr(opened, name)) for name in ("runs", "jobs", "histories", "ledger")}
    counted_results = replace(opened, **ports)  # type: ignore[arg-type]  # each stands for its port
    counted_launcher = Counted(LocalLauncher(settings.state_dir, command=command))

    def results(settings: Settings) -> Any:
        return counted_results

    def launcher(settings: Settings) -> Any:
        return counted_launcher

    connect._open_results, connect._launcher = results, launcher  # type: ignore[assignment]  # as the tests' conftest does
    match flow:
        case "train":
            flows.train.train(request_key="once", epochs=6, poll_interval_s=0.05)
        case "ingest":
            flows.ingest.ingest(quick_test_id=1)
        case "reconcile":
            flows.reconcile.reconcile()
        case _:
            raise AssertionError(flow)


def main() -> None:
    folder, flow, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    for n in range(first, last + 1):
        own = folder / f"{flow}-{n}"
        child = os.fork()
        if child == 0:
            try:
                run(flow, own, n)
            except SwitchyardError as err:
                print(err, file=sys.stderr)
            finally:
                os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
