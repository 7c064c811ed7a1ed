"""Runs backfills, and kills them with SIGKILL when its starter says: after some time, or before their n-th effect.

    python -m tests.flows.killed_backfill

Reads a JSON line a turn (`Turn`) from stdin and answers each with one (`Answer`). The processes are forked after the
imports, which take longer than a backfill.
"""

import contextlib
import math
import mmap
import os
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import msgspec

import flows.backfill
from switchyard.clients import connect
from switchyard.clients.results.open import ResultsPorts
from switchyard.clients.settings import Settings
from switchyard.core.errors import SwitchyardError

EFFECTS: Final = frozenset(
    (
        *("publish", "publish_many", "adopt_runs", "write_ledger", "write", "delete"),
        *("note_lifecycles", "note_identity", "replace_store", "note_unadopted", "note_follow"),
    )
)
_HEAD: Final = struct.Struct("<qdd")
_STAGE_BYTES: Final = 100
_LONGEST_S: Final = 120


class Turn(msgspec.Struct, kw_only=True):
    """One backfill, or several at once; the first of them is the one that is killed."""

    environ: dict[str, str]
    parameters: dict[str, Any]
    processes: int = 1
    kill_after_s: float | None = None  # after its first effect
    kill_before: int | None = None  # its n-th effect, from 1


class Answer(msgspec.Struct, kw_only=True):
    """What became of it. `seconds` are from its first effect to its last."""

    killed: bool
    stage: str
    effects: int
    seconds: float
    exits: list[int]


class Board:
    """What a process was doing last, in memory that its starter can read when it is dead."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEAD.size + _STAGE_BYTES)
        self._lock = threading.Lock()  # files are written by several threads
        self.kill_before: int | None = None

    @property
    def effects(self) -> int:
        """How many were begun."""
        return int(_HEAD.unpack_from(self._memory)[0])

    @property
    def seconds(self) -> float:
        """From the begin of the first effect to the end of the last one."""
        _, first_at, last_at = _HEAD.unpack_from(self._memory)
        return float(max(0.0, last_at - first_at))

    @property
    def stage(self) -> str:
        return self._memory[_HEAD.size :].rstrip(b"\0").decode()

    def say(self, stage: str) -> None:
        self._memory[_HEAD.size :] = stage.encode()[:_STAGE_BYTES].ljust(_STAGE_BYTES, b"\0")

    def begin(self, effect: str) -> None:
        with self._lock:
            count, first_at, last_at = _HEAD.unpack_from(self._memory)
            if count + 1 == self.kill_before:
                self.say(f"before {effect}")
                os.killpg(0, signal.SIGKILL)
            self.say(f"in {effect}")
            _HEAD.pack_into(self._memory, 0, count + 1, first_at or time.monotonic(), last_at)

    def end(self, effect: str) -> None:
        with self._lock:
            count, first_at, _ = _HEAD.unpack_from(self._memory)
            _HEAD.pack_into(self._memory, 0, count, first_at, time.monotonic())
            self.say(f"after {effect}")


class Watched:
    """A port that says on the board what it is asked."""

    def __init__(self, port: Any, board: Board) -> None:
        self._port = port
        self._board = board

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._port, name)
        if name == "read_runs":
            return lambda *args, **kwargs: self._iterate(method(*args, **kwargs))
        if name not in EFFECTS:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._board.begin(name)
            result = method(*args, **kwargs)
            self._board.end(name)
            return result

        return call

    def _iterate(self, runs: Iterator[Any]) -> Iterator[Any]:
        while True:
            before = self._board.stage
            self._board.say("in read_runs")
            run = next(runs, None)
            self._board.say(before)
            if run is None:
                return
            yield run


def watch(board: Board) -> None:
    """Has `connect` hand out watched ports, in this process."""
    wiring: Any = connect
    outside: Any = connect.Outside
    open_results, objects, read = wiring._open_results, outside.objects, outside.tracking.fget

    def open_watched(settings: Settings) -> ResultsPorts:
        ports: ResultsPorts = open_results(settings)
        watched: dict[str, Any] = {
            name: Watched(getattr(ports, name), board) for name in ("runs", "jobs", "histories", "ledger", "followed")
        }
        return replace(ports, **watched)

    wiring._open_results = open_watched
    outside.objects = lambda self, uri: Watched(objects(self, uri), board)
    outside.tracking = property(lambda self: Watched(read(self), board))


def start(turn: Turn, board: Board) -> int:
    """Forks a backfill; returns its process id, which is its group's too."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        os.environ.update(turn.environ)
        watch(board)
        flows.backfill.backfill(**turn.parameters)
        code = 0
    except SwitchyardError as err:
        print(err, file=sys.stderr)
    except BaseException:  # noqa: BLE001  # whatever it is, the child must not go on as its parent
        traceback.print_exc()
        code = 2
    finally:
        sys.stderr.flush()
        os._exit(code)


def take(turn: Turn) -> Answer:
    """Runs the turn to its end."""
    boards = [Board() for _ in range(turn.processes)]
    boards[0].kill_before = turn.kill_before
    children = [start(turn, board) for board in boards]
    exits: dict[int, int] = {}
    due_at: float | None = None
    give_up_at = time.monotonic() + _LONGEST_S
    while len(exits) < len(children):
        now = time.monotonic()
        if due_at is None and turn.kill_after_s is not None and boards[0].effects:
            due_at = now + turn.kill_after_s
        if now > give_up_at or (due_at is not None and now >= due_at and children[0] not in exits):
            for child in children if now > give_up_at else children[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
            due_at = math.inf
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            exits[child] = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.0005)
    return Answer(
        killed=exits[children[0]] == -signal.SIGKILL,
        stage=boards[0].stage,
        effects=boards[0].effects,
        seconds=boards[0].seconds,
        exits=[exits[child] for child in children],
    )


def main() -> None:
    """Takes turns until stdin ends."""
    decoder = msgspec.json.Decoder(Turn)
    for line in sys.stdin:
        print(msgspec.json.encode(take(decoder.decode(line))).decode(), flush=True)


if __name__ == "__main__":
    main()
