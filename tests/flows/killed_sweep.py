"""Runs sweeps, and kills them with SIGKILL right before their n-th outside effect.

    python -m tests.flows.killed_sweep

Reads a JSON line a turn (`Turn`) from stdin and answers each with one (`Answer`). The processes are forked after the
imports, which take longer than a sweep.
"""

import json
import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import msgspec

import flows.sweep
from switchyard.clients import connect
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.results.open import open_results
from switchyard.clients.settings import Settings

RESULTS_EFFECTS: Final = frozenset(
    (
        *("create_run", "claim_job", "record_job", "claim_ended_event", "note_completed_event", "end_run"),
        *("record_error", "publish", "write_ledger"),
    )
)
LAUNCHER_EFFECTS: Final = frozenset(("submit", "cancel"))
TRIALS_EFFECTS: Final = frozenset(("begin", "ask", "note_run", "report", "tell"))
FIRST_TRIALS: Final = 2
"""TPE begins to look at how trials ended after this number of trials; its own default would take minutes."""


class Turn(msgspec.Struct, kw_only=True):
    """One sweep; `kill_before` its n-th effect, from 1 (0: never)."""

    environ: dict[str, str]
    parameters: dict[str, Any]
    kill_before: int = 0


class Answer(msgspec.Struct, kw_only=True):
    """What became of it, and the effects that it began, in order."""

    exit: int  # of the process; negative: the signal that ended it
    effects: list[str]


class Board:
    """The effects that were begun, in memory that outlives the process."""

    def __init__(self, kill_before: int) -> None:
        self._memory = mmap.mmap(-1, 1 << 16)
        self._kill_before = kill_before
        self.effects: list[str] = []

    def begin(self, effect: str) -> None:
        self.effects.append(effect)
        text = json.dumps(self.effects).encode()
        self._memory[: len(text)] = text
        if len(self.effects) == self._kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    def read(self) -> list[str]:
        text = self._memory[:].rstrip(b"\0")
        found: list[str] = json.loads(text) if text else []
        return found


class Watched:
    """A port whose effects are counted."""

    def __init__(self, port: Any, effects: frozenset[str], board: Board) -> None:
        self._port, self._effects, self._board = port, effects, board

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._port, name)
        if name not in self._effects:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._board.begin(name)
            return method(*args, **kwargs)

        return call


def run(turn: Turn, board: Board) -> None:
    """Every port that `connect` hands out is watched."""
    from switchyard.clients.sweeps import optuna_trials  # where Optuna is not there, this module is only read

    os.environ.update(turn.environ)
    settings = connect.connect().settings
    opened = open_results(settings.results_url)
    ports = {
        name: Watched(getattr(opened, name), RESULTS_EFFECTS, board) for name in ("runs", "jobs", "histories", "ledger")
    }
    results = replace(opened, **ports)  # type: ignore[arg-type]  # each stands for its port
    command = (sys.executable, "-m", "tests.flows.sweep_trainer")
    launcher = Watched(LocalLauncher(settings.state_dir, command=command), LAUNCHER_EFFECTS, board)
    open_trials = connect._open_trials

    def wire_results(settings: Settings) -> Any:
        return results

    def wire_launcher(settings: Settings) -> Any:
        return launcher

    def wire_trials(url: str, sweep: str) -> Any:
        return Watched(open_trials(url, sweep), TRIALS_EFFECTS, board)

    wiring: Any = connect
    wiring._open_results, wiring._launcher, wiring._open_trials = wire_results, wire_launcher, wire_trials
    patched: Any = optuna_trials
    patched.FIRST_TRIALS = FIRST_TRIALS
    flows.sweep.sweep(**turn.parameters)


def main() -> None:
    for line in sys.stdin.buffer:
        turn = msgspec.json.decode(line, type=Turn)
        board = Board(turn.kill_before)
        child = os.fork()
        if child == 0:
            status = 0
            try:
                run(turn, board)
            except BaseException:  # noqa: BLE001 - whatever it is, it is no kill: the test shows it
                traceback.print_exc()
                status = 2
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        answer = Answer(exit=os.waitstatus_to_exitcode(ended), effects=board.read())
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
