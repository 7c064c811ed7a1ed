"""Exports of what a server answers that are killed with SIGKILL right before their n-th call or write.

    python -m tests.clients.mlflow.export.killed_answers <url>

Reads one JSON line an export, ``{"to": <uri>, "die_before": <n>}`` (0: never), and answers one: how many calls and
writes it had, and whether it was killed. The processes are forked after the imports, which take longer than an export.
"""

import json
import os
import signal
import sys
import threading
from typing import Any

from switchyard.clients.mlflow.export import from_tracking
from switchyard.clients.mlflow.export.from_tracking import Answers, export_answers
from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.objects.files import FileObjects
from switchyard.core.mlflow import export_batches
from tests.clients.mlflow.export.answering import open_store


class Counter:
    """Counts what reaches outside, and kills before one of it."""

    def __init__(self, die_before: int, told: int) -> None:
        self._die_before, self._told = die_before, told
        self._lock = threading.Lock()

    def count(self) -> None:
        with self._lock:
            os.write(self._told, b".")
            self._die_before -= 1
            if self._die_before == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def export(url: str, to_uri: str, counter: Counter) -> None:
    """Exports in a forked process."""
    export_batches.RUNS = 5  # type: ignore[misc]
    from_tracking._RUNS_AT_ONCE = 5  # type: ignore[misc]
    call = MlflowServer._call

    def counted(self: MlflowServer, method: str, path: str, **arguments: Any) -> tuple[bytes, str]:
        counter.count()
        return call(self, method, path, **arguments)

    class Counted(FileObjects):
        def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
            counter.count()
            return super().write(uri, data, if_generation=if_generation)

        def delete(self, uri: str, *, if_generation: int) -> None:
            counter.count()
            super().delete(uri, if_generation=if_generation)

    MlflowServer._call = counted  # type: ignore[method-assign]
    store = open_store(url)
    export_answers(Answers(store, store, store), to_uri, Counted())
    store.close()


def main(url: str) -> None:
    for line in sys.stdin:
        turn = json.loads(line)
        reading, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                export(url, turn["to"], Counter(turn["die_before"], told))
            except BaseException as err:  # noqa: BLE001 - told by the exit status; nothing of the parent may run here
                sys.stderr.write(f"{err!r}\n")
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        os.close(told)
        effects = 0
        while data := os.read(reading, 65_536):
            effects += len(data)
        os.close(reading)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"effects": effects, "killed": code == -signal.SIGKILL, "code": code}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
