"""Trainers that are forked from a process that has loaded TensorFlow: loading it takes longer than training on toys.

``python -m tests.trainer.forked_trainers`` reads one JSON line a training, and answers with its exit status. What the
loading itself says, and how a process ends that was started for one training, test_process.py tries as well.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.root import ROOT


class Trainers:
    """Runs trainings, one after another, each in a process of its own."""

    def __init__(self, server: "subprocess.Popen[str]", folder: Path) -> None:
        self._server = server
        self._output = {"stdout": str(folder / "stdout"), "stderr": str(folder / "stderr")}

    def run(self, folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
        """`python -m trainer` with `flags`, which writes to `folder`, to its end."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        arguments = [f"--artifacts-uri={folder.as_uri()}", *flags]
        order = {"arguments": arguments, "environ": dict(os.environ), **self._output}
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        status = int(self._server.stdout.readline())
        said = {name: Path(path).read_text() for name, path in self._output.items()}
        return subprocess.CompletedProcess(arguments, status, **said)


@contextmanager
def open_trainers(folder: Path) -> Iterator[Trainers]:
    """The process that forks them, ended at the end; `folder` is for what they print."""
    command = [sys.executable, "-m", "tests.trainer.forked_trainers"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield Trainers(server, folder)
        assert server.stdin is not None
        server.stdin.close()  # its loop ends


def _train(order: dict[str, Any]) -> int:
    """What the process does that was forked: its exit status."""
    from trainer.starting import start

    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(order["environ"])
    return start(order["arguments"], os.environ)


def _serve() -> None:
    import keras  # noqa: F401  # for those that are forked
    import tensorflow  # noqa: F401  # as above

    for line in sys.stdin:
        number = os.fork()
        if not number:
            sys.exit(_train(json.loads(line)))  # as `python -m trainer` ends, with TensorFlow's clearing up
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
