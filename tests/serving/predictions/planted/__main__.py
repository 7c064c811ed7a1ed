"""The true process of a loader, with planted models in the place of a library's: a model.json says what goes wrong."""

import ctypes
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving.predictions.loaders import __main__ as program
from serving.predictions.loaders.loading import NotLoaded
from switchyard.core.predictions.signature import Column, Row, Signature, Type

MEMORY = 1 << 34
PRINTED = 1_000_000
_SETSIG = 10


class Planted:
    """Answers `factor` times the sum of a row, unless `answer` names something else."""

    library = "planted 1.0"

    def __init__(self, said: dict[str, Any], folder: Path) -> None:
        self._said, self._folder = said, folder
        columns = [Column(name="a", type=Type.NUMBER, may_be_missing=True), Column(name="n", type=Type.INTEGER)]
        columns += [Column(name=f"f{n}", type=Type.NUMBER) for n in range(said.get("more_columns", 0))]
        self.signature = Signature(columns=tuple(columns), answers="a sum")

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        sums = [self._said.get("factor", 1) * sum(value or 0 for value in row) for row in rows]
        if "on" in self._said and self._said["on"] not in sums:  # what is planted waits for this sum
            return sums
        return do(self._said.get("answer", ""), self._folder, sums)


def do(what: str, folder: Path, sums: list[Any]) -> list[Any]:
    """What a damaged or hostile file may make of the process that reads it."""
    if what == "crash":
        ctypes.string_at(0)
    if what == "exit":
        print("the library gave up", file=sys.stderr, flush=True)
        os._exit(7)
    if what == "hang":
        time.sleep(3600)
    if what == "memory":
        return [len(bytearray(MEMORY))]
    if what == "write":
        (folder.parent / "written").write_text("x")
    if what == "raise":
        raise ValueError("bad leaf")
    if what == "raise with a stack":
        raise ValueError("bad leaf\nStack trace:\n  [bt] (0) /opt/models/lib/libtrees.so(+0x11031e) [0x7f8d98f1031e]")
    if what == "refuse":
        raise NotLoaded("its trees have no leaves", "nor a root")
    if what == "no library":
        raise ModuleNotFoundError("No module named 'planted'", name="planted")
    if what == "print":
        print("x" * PRINTED, flush=True)
    if what == "babble":
        said = json.loads((folder / "model" / "model.json").read_text()).get("babbled", "\x00\x00\x00\x05hello")
        for descriptor in range(3, 12):
            try:
                os.write(descriptor, said.encode("latin-1"))
            except OSError:
                continue
    if what == "long":
        return [[0.123456789] * 300_000] * len(sums)
    if what == "escape":
        return [[f"{name}: {_try(act)}" for name, act in _list_escapes(folder).items()]] * len(sums)
    return {"nan": [float("nan")] * len(sums), "few": sums[1:], "environment": [sorted(os.environ)] * len(sums)}.get(
        what, sums
    )


def _list_escapes(folder: Path) -> dict[str, Callable[[], Any]]:
    """What a hostile model would do on its machine; the last ones it may."""
    model, parent, libc = folder / "model" / "model.json", os.getppid(), ctypes.CDLL(None, use_errno=True)
    return {
        "read /etc/passwd": Path("/etc/passwd").read_text,
        "read beside the model": (folder.parent / "beside").read_text,
        "list the folder above": lambda: os.listdir(folder.parent),
        "read the server's variables": Path(f"/proc/{parent}/environ").read_bytes,
        "write": lambda: (folder / "written").touch(),
        "write over the model": lambda: os.open(model, os.O_WRONLY),
        "remove the model": model.unlink,
        "change its mode": lambda: model.chmod(0o600),
        "TCP": lambda: socket.create_connection(("127.0.0.1", 9), timeout=5),
        "UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "Unix socket": lambda: socket.socket(socket.AF_UNIX),
        "program": lambda: subprocess.run(["/bin/true"], check=True),
        "fork": os.fork,
        "signal to the server": lambda: os.kill(parent, 0),
        "limit of the server": lambda: _limit(parent),
        "new session": os.setsid,
        "niceness of the server": lambda: os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(0, parent)),
        "niceness of its user": lambda: os.setpriority(os.PRIO_USER, 0, os.getpriority(os.PRIO_USER, 0)),
        "processors of the server": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)),
        "scheduler of the server": lambda: os.sched_setscheduler(parent, os.SCHED_OTHER, os.sched_param(0)),
        "signals of a pipe to the server": lambda: fcntl.fcntl(2, fcntl.F_SETOWN, parent),
        "signals of a pipe": lambda: fcntl.fcntl(2, _SETSIG, 9),
        "memory that stays": lambda: _get(libc.shmget, 0, 4096, 0o1600),
        "queue that stays": lambda: _get(libc.msgget, 0, 0o1600),
        "semaphore that stays": lambda: _get(libc.semget, 0, 1, 0o1600),
        "niceness of its own": lambda: os.nice(0),
        "processors of its own": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
        "read the model": model.read_bytes,
        "thread": _run_thread,
        "empty file of its own": (Path(tempfile.gettempdir()) / "empty").touch,
        "file of its own": lambda: (Path(tempfile.gettempdir()) / "full").write_text("x"),
    }


def _try(act: Callable[[], Any]) -> str:
    try:
        act()
    except OSError as err:
        return errno.errorcode.get(err.errno or 0, str(err))
    return "done"


def _get(function: Callable[..., int], *given: int) -> None:
    if function(*given) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _limit(pid: int) -> None:
    import resource

    resource.prlimit(pid, resource.RLIMIT_CPU, resource.prlimit(pid, resource.RLIMIT_CPU))


def _run_thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def load(folder: Path, flavor: str, paths: Sequence[str], pickles: Sequence[str] = (), tokenizer: str = "") -> Planted:
    """In the place of `loaders.loading.load`."""
    said = json.loads((folder / "model" / "model.json").read_text())
    do(said.get("load", ""), folder, [])
    return Planted(said, folder)


program.load = load  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(program.main())
