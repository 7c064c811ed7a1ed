"""The server's side of a loader's process: starts it, sends it rows, and ends it if it is late.

Whatever a model does to the process that reads it, the server only learns of it.
"""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from weakref import finalize

import msgspec

from serving.predictions.loaders.wire import (
    LENGTH_BYTES,
    MAX_REPLY_BYTES,
    Answers,
    Ask,
    Load,
    Order,
    Ready,
    Refused,
    Reply,
    decode_reply,
    encode,
)
from serving.predictions.scratch import Scratch, make_scratch
from switchyard.core.errors import BadRecord, BadSetup, TryAgain
from switchyard.core.predictions.filenames import leave_out_others, leave_out_pickled_tokenizers
from switchyard.core.predictions.pickles import say_pickle
from switchyard.core.predictions.signature import Row, Signature, find_bad_answers, find_problems
from switchyard.core.registry.flavors import PICKLE, PICKLED, choose_flavor
from switchyard.core.registry.manifest import Manifest

MODULE: Final = "serving.predictions.loaders"
GIB: Final = 1024**3
ENDING_S: Final = 2.0
"""How long to wait, after a process has closed its pipes, for its exit status and what it printed."""
TAIL_BYTES: Final = 2_000
"""The most bytes of what it printed that a message has."""
_CHUNK: Final = 1 << 16
_ROOT: Final = Path(__file__).resolve().parents[2]
_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
_ALWAYS: Final = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"),
    "JOBLIB_MULTIPROCESSING": "0",  # else joblib makes a file in shared memory, where it may not write
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": f"{os.devnull}/none",  # else Keras reads ~/.keras/keras.json, or makes it
    "TF_CPP_MIN_LOG_LEVEL": "2",  # errors
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}


@dataclass(frozen=True)
class Bounds:
    """The limits of a loader's process."""

    load_s: float = 120.0
    answer_s: float = 10.0
    memory_bytes: int = 2 * GIB  # in addition to `memory_per_byte` of the model's files
    memory_per_byte: int = 4


@dataclass(frozen=True)
class RowLoader:
    """Implements `services.model_loading.OpenRows`; each call starts a process."""

    python: str = ""  # the interpreter that has the libraries; empty: the server's own
    bounds: Bounds = Bounds()
    module: str = MODULE
    filename: str = ""  # the file to read if model/ has several
    tokenizer: str = ""  # the file of a text model's tokenizer; empty: tokenizer.json, if it is there
    pickle_digests: frozenset[str] = frozenset()  # SHA-256 of the pickles that the operator allows

    def __call__(self, folder: Path, manifest: Manifest, where: str) -> "LoaderProcess":
        """Returns the model in `folder`, once it is loaded.

        Raises:
            BadRequest: the file that `filename` names is missing.
            BadRecord: the process refused the files, ended, or was late.
            BadSetup: a library or the interpreter is missing.
        """
        bounds = self.bounds
        listed = [file.path for file in manifest.files]
        paths = leave_out_pickled_tokenizers(leave_out_others(listed, self.filename), self.tokenizer)
        pickles = [file for file in manifest.files if file.path in paths and file.path.endswith(PICKLED)]
        refused = [say_pickle(file.path, file.sha256) for file in pickles if file.sha256 not in self.pickle_digests]
        if refused and choose_flavor(paths) == PICKLE:
            raise BadRecord(where, refused)
        scratch = make_scratch()
        order = Load(
            folder=str(folder),
            flavor=choose_flavor(paths),
            paths=paths,
            pickles=[file.path for file in pickles if file.sha256 in self.pickle_digests],
            tokenizer=self.tokenizer,
            scratch=scratch.path,
            memory_bytes=bounds.memory_bytes + bounds.memory_per_byte * manifest.size_bytes,
            load_s=bounds.load_s,
            answer_s=bounds.answer_s,
        )
        try:
            process = start_process(self.python or sys.executable, self.module)
        except BadSetup:
            scratch.remove()
            raise
        return LoaderProcess(process, order, scratch, where)


class LoaderProcess:
    """Implements `core.ports.RowModel` with a process that has read one model."""

    def __init__(self, process: "subprocess.Popen[bytes]", order: Load, scratch: Scratch, where: str) -> None:
        self._process, self._where, self._answer_s = process, where, order.answer_s
        self._lock = threading.Lock()
        self._is_alive, self._is_closed = True, False
        self._kill = finalize(self, _end, process, scratch)  # also if `close` is never called
        assert process.stderr is not None
        self._printed = _Printed(process.stderr)
        try:
            reply = self._ask(order, order.load_s)
        except TryAgain as err:
            raise BadRecord(where, [f"it was not loaded: {err}"]) from err
        if not isinstance(reply, Ready):
            self._stop()
            problems = reply.problems if isinstance(reply, Refused) else ["its process answered before it was asked"]
            if isinstance(reply, Refused) and reply.is_setup:
                raise BadSetup(f"{where} is not loaded: {'; '.join(problems)}")
            raise BadRecord(where, problems)
        if problems := find_problems(reply.signature):
            self._stop()
            raise BadRecord(where, problems)
        self.signature: Signature = reply.signature
        self.library: str = reply.library
        self.unconfined: list[str] = reply.unconfined

    def __repr__(self) -> str:
        return f"LoaderProcess({self._process.pid}, {'alive' if self.is_alive else 'ended'})"

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """See the port."""
        return self._is_alive and self._process.poll() is None

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        """See the port."""
        with self._lock:
            reply = self._ask(Ask(list(rows)), self._answer_s)
        if isinstance(reply, Refused):
            raise BadRecord(self._where, reply.problems)
        problems = find_bad_answers(reply.values, count=len(rows)) if isinstance(reply, Answers) else ["no answer"]
        if problems or not isinstance(reply, Answers):
            raise BadRecord(self._where, problems)
        return reply.values

    def close(self) -> None:
        """See the port."""
        with self._lock:
            self._is_closed = True
            self._stop()

    def _ask(self, order: Order, seconds: float) -> Reply:
        """Sends `order` and returns the reply. Raises: TryAgain: there is no reply, and the process has ended."""
        if self._is_closed:
            raise TryAgain("another model has taken its place")
        if not self.is_alive:
            raise TryAgain(self._say_end("its process ended"))
        until = time.monotonic() + seconds
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            _write(self._process.stdin.fileno(), encode(order), until)
            reply = _read(self._process.stdout.fileno(), until)
        except TimeoutError:
            self._stop()
            raise TryAgain(f"its process took longer than {seconds:g} s, and was ended") from None
        except (OSError, ValueError, msgspec.MsgspecError) as err:
            said = f"its process sent an unknown message ({err})" if isinstance(err, ValueError) else ""
            self._stop(wait_s=ENDING_S)
            raise TryAgain(self._say_end(said or "its process ended")) from err
        if reply is None:
            self._stop(wait_s=ENDING_S)
            raise TryAgain(self._say_end("its process ended"))
        return reply

    def _stop(self, wait_s: float = 0.0) -> None:
        """Ends the process, but first waits `wait_s` seconds for it to end by itself, which tells why."""
        self._is_alive = False
        if wait_s:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        self._kill()

    def _say_end(self, said: str) -> str:
        status = self._process.poll()
        how = ""
        if status is not None and status < 0:
            how = f" by signal {-status} ({signal.Signals(-status).name})"
        elif status:
            how = f" with exit status {status}"
        last = self._printed.read_last_line()
        return f"{said}{how}{f'; it printed last: {last}' if last else ''}"


def to_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns the environment of a loader's process: paths, and limits to one thread; no settings."""
    kept = {name: environ[name] for name in _KEPT if name in environ}
    return {**kept, **_ALWAYS}


def start_process(python: str, module: str) -> "subprocess.Popen[bytes]":
    """Starts a process with an empty environment. Raises: BadSetup: there is no such interpreter."""
    try:
        return subprocess.Popen(
            [python, "-s", "-m", module],
            cwd=_ROOT,
            env=to_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # only the server handles Ctrl-C
        )
    except OSError as err:
        raise BadSetup(
            f"the interpreter that loads models cannot be started: {python}: {err.strerror}. Name one that is there: "
            "MODEL_LOADER_PYTHON"
        ) from err


def _end(process: "subprocess.Popen[bytes]", scratch: Scratch) -> None:
    """Kills the process and all that it may have started; it holds nothing that would be lost."""
    with suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]
    if process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with suppress(OSError):
        process.stdout.close()  # type: ignore[union-attr]
    scratch.remove()


class _Printed:
    """Keeps what a process prints last; it reads all the time, because the process would wait otherwise."""

    def __init__(self, file: IO[bytes]) -> None:
        self._parts: deque[bytes] = deque(maxlen=16)
        self._thread = threading.Thread(target=self._run, args=(file,), name="loader's stderr", daemon=True)
        self._thread.start()

    def read_last_line(self) -> str:
        """Returns the last line of a process that has ended; empty: it printed nothing."""
        self._thread.join(ENDING_S)  # it takes that long only if a child of the process lives on
        lines = b"".join(self._parts)[-TAIL_BYTES:].decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def _run(self, file: IO[bytes]) -> None:
        with suppress(OSError, ValueError), file:
            while part := os.read(file.fileno(), 4_096):
                self._parts.append(part)


def _write(pipe: int, data: bytes, until: float) -> None:
    os.set_blocking(pipe, False)
    left = memoryview(data)
    while left:
        _wait(pipe, select.POLLOUT, until)
        with suppress(BlockingIOError):
            left = left[os.write(pipe, left[:_CHUNK]) :]


def _read(pipe: int, until: float) -> Reply | None:
    head = _read_exactly(pipe, LENGTH_BYTES, until)
    length = int.from_bytes(head, "big")
    if length > MAX_REPLY_BYTES:
        raise ValueError(f"a message of {length:,} bytes")
    data = _read_exactly(pipe, length, until) if len(head) == LENGTH_BYTES else b""
    return decode_reply(data) if data and len(data) == length else None


def _read_exactly(pipe: int, count: int, until: float) -> bytes:
    """Returns `count` bytes, or fewer if the process has ended."""
    parts = bytearray()
    while len(parts) < count:
        _wait(pipe, select.POLLIN, until)
        part = os.read(pipe, min(_CHUNK, count - len(parts)))
        if not part:
            break
        parts += part
    return bytes(parts)


def _wait(pipe: int, events: int, until: float) -> None:
    left_s = until - time.monotonic()
    poll = select.poll()
    poll.register(pipe, events)
    if left_s <= 0 or not poll.poll(1000 * left_s):
        raise TimeoutError
