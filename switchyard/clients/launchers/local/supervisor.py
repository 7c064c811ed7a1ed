"""Runs one local job from its folder and writes how it ended.

``python -m switchyard.clients.launchers.local.supervisor <job folder>``

It outlives the process that started it. Any number may be started for a folder: the first to get the folder's lock runs
the job, the others leave. It only answers for the training process; what the end means is decided elsewhere.
"""

import errno
import math
import os
import select
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from switchyard.clients.launchers.local.environment import to_training_environ
from switchyard.clients.launchers.local.job_folder import Exit, JobFolder, Order, Running
from switchyard.clients.launchers.local.plain_files import open_log
from switchyard.clients.launchers.local.processes import (
    JOB_FOLDER_VARIABLE,
    adopt_orphans,
    bury_orphans,
    identify,
    kill_family,
)
from switchyard.core.errors import BadRecord
from switchyard.core.runs.jobs import JobState, Reason

_LOCK_WAIT_S = 60.0  # a reporter holds the lock for a moment, or for seconds when it kills an orphaned training
_LOOK_EVERY_S = 1.0  # the cancel mark is also looked for without a signal, which may be lost
_FULL_DISK_WAIT_S = 600.0

# The training waits for a line before it starts, and its id is on the disk before it gets one. A supervisor that is
# killed between the two closes the pipe, and the training ends before it begins: none runs unknown.
_GATE = 'read -r go && exec "$@" </dev/null'


def main() -> None:
    """Leaves the caller's process tree, so that no caller has to wait for this process, then supervises."""
    job = JobFolder(Path(sys.argv[1]))
    if os.fork():
        os._exit(0)
    adopt_orphans()
    deadline = time.monotonic() + _LOCK_WAIT_S
    while time.monotonic() < deadline:
        with job.lock() as folder:
            if folder is not None:
                _run(job, folder)
                return
        running = job.read_running()
        if job.read_exit() or (running and running.supervisor.find()):
            return
        time.sleep(0.05)


def _run(job: JobFolder, folder: int) -> None:
    """Runs the job to its end, unless it has one, or another supervisor had begun it; `folder` holds the lock."""
    if job.read_exit():
        return
    if job.read_running():
        # An earlier supervisor was killed. To start again would train twice under one key.
        job.end_unwatched(folder, now=datetime.now(UTC), start_grace_s=math.inf)
        return
    try:
        order = job.read_order()
    except BadRecord as err:
        _write_end(job, folder, job.to_exit(JobState.FAILED, Reason.NEVER_STARTED, str(err), now=datetime.now(UTC)))
        return
    if order is None:  # an interrupted claim; the process that completes it starts its own supervisor
        return
    signals = _Signals()
    if job.cancel_asked:
        job.end_unwatched(folder, now=datetime.now(UTC), start_grace_s=math.inf)
        return
    with _start(job, order) as training:
        running = Running(
            supervisor=identify(os.getpid()), training=identify(training.pid), started_at=datetime.now(UTC)
        )
        assert training.stdin is not None
        try:
            job.write(folder, running)
            training.stdin.write(b"go\n")
        finally:
            training.stdin.close()
        stopped_for = _watch(training, job, order, signals)
        # What the training itself started and left, wherever it went.
        kill_family(running.training, str(job.path), wait_s=5.0, adopted=True)
    _write_end(job, folder, _to_end(job, order, training.returncode, stopped_for))


class _Signals:
    """Makes signals something to wait for, together with a time. They come over a pipe, so no race loses one."""

    def __init__(self) -> None:
        self.asked_to_end = False
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def wait(self, timeout_s: float) -> None:
        """Returns after `timeout_s`, or as soon as a signal came since the last call."""
        if select.select([self._reader], [], [], max(0.0, timeout_s))[0]:
            os.read(self._reader, 4096)

    def _note(self, *_: object) -> None:
        self.asked_to_end = True


def _start(job: JobFolder, order: Order) -> subprocess.Popen[bytes]:
    """Starts the training in its own session, where it waits at its gate."""
    with open_log(job.log) as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "sh", *order.command, *order.order.arguments],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **to_training_environ(os.environ, order.order.variables),
                "PYTHONUNBUFFERED": "1",
                JOB_FOLDER_VARIABLE: str(job.path),
            },
            start_new_session=True,
        )


def _watch(training: subprocess.Popen[bytes], job: JobFolder, order: Order, signals: _Signals) -> Reason:
    """Waits for the training's end, or stops it; returns why it was stopped, NONE: it was not."""
    deadline = time.monotonic() + order.order.timeout_s
    kill_at = math.inf
    stopped_for = Reason.NONE
    while training.poll() is None:
        bury_orphans(but=training.pid)
        now = time.monotonic()
        if stopped_for is Reason.NONE:
            if job.cancel_asked:
                stopped_for = Reason.CANCEL_ASKED
            elif now >= deadline:
                stopped_for = Reason.TIMED_OUT
            elif signals.asked_to_end:  # not by a cancel: the machine shuts down, or someone ended the supervisor
                stopped_for = Reason.KILLED
            if stopped_for is not Reason.NONE:
                training.terminate()
                kill_at = now + order.kill_after_s
        elif now >= kill_at:
            kill_family(identify(training.pid), str(job.path), wait_s=0.0, adopted=True)
        next_look = min(deadline, kill_at) if stopped_for is Reason.NONE else kill_at
        signals.wait(min(_LOOK_EVERY_S, next_look - now) if next_look > now else _LOOK_EVERY_S)
    return stopped_for


def _to_end(job: JobFolder, order: Order, returncode: int, stopped_for: Reason) -> Exit:
    """Makes the end by states: a training that succeeds although it was told to end has succeeded."""
    said = f"exit status {returncode}" if returncode >= 0 else f"ended by signal {-returncode} ({_name(-returncode)})"
    if returncode == 0:
        state, reason, message = JobState.SUCCEEDED, Reason.NONE, ""
    elif stopped_for is Reason.CANCEL_ASKED:
        state, reason, message = JobState.CANCELLED, Reason.CANCEL_ASKED, said
    elif stopped_for is Reason.TIMED_OUT:
        message = f"it ran past its timeout of {order.order.timeout_s} s and was stopped: {said}"
        state, reason = JobState.FAILED, Reason.TIMED_OUT
    elif stopped_for is Reason.KILLED:
        state, reason = JobState.FAILED, Reason.KILLED
        message = f"its supervisor was told to end (a shutdown, or a kill), and stopped it: {said}"
    elif returncode < 0:
        hint = "; often the machine ran out of memory" if -returncode == signal.SIGKILL else ""
        state, reason, message = JobState.FAILED, Reason.KILLED, said + hint
    else:
        state, reason, message = JobState.FAILED, Reason.EXITED, said
    end = job.to_exit(state, reason, message, now=datetime.now(UTC))
    return msgspec.structs.replace(
        end,
        exit_status=returncode if returncode >= 0 else None,
        signal=-returncode if returncode < 0 else None,
        timed_out=stopped_for is Reason.TIMED_OUT,
    )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return "unnamed"


def _write_end(job: JobFolder, folder: int, end: Exit) -> None:
    """Writes the end, and waits for room on a full disk: what a training of hours has reached is worth the wait."""
    deadline = time.monotonic() + _FULL_DISK_WAIT_S
    while True:
        try:
            job.write(folder, end)
        except OSError as err:
            if err.errno not in (errno.ENOSPC, errno.EDQUOT) or time.monotonic() > deadline:
                raise
            time.sleep(1.0)
        else:
            return


if __name__ == "__main__":
    main()
