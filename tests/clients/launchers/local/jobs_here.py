"""Jobs of this machine for tests: submitted, claimed by a submitter that was killed, waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil

from switchyard.clients.launchers.local.job_folder import JobFolder, Running
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.core.runs.jobs import JobOrder, JobReport

DEADLINE_S = 30.0


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


SLEEP = 'import time; print(\'{"epoch": 0, "epochs": 9}\', flush=True); time.sleep(100)'


# Submits the job key-1 and says so. SIGKILL comes just before the outside effect of the given number or name.
SUBMIT = """if True:
    import os, signal, sys
    from switchyard.clients.launchers.local.launcher import LocalLauncher
    from switchyard.core.runs.jobs import JobOrder
    state, code, kill_at = sys.argv[1:]
    launcher = LocalLauncher(state, command=[sys.executable, "-c"])
    effects = 0
    def watch(event, arguments):
        global effects
        if event in ("os.mkdir", "os.rename", "os.utime", "fcntl.flock", "subprocess.Popen") or (
            event == "open" and arguments[2] & os.O_ACCMODE
        ):
            effects += 1
            if kill_at in (event, str(effects)):
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    order = JobOrder(display_name="", arguments=[code], labels={"a": "b"}, timeout_s=60)
    print(launcher.submit("key-1", order).job_name, flush=True)
    sys.stdin.read()
"""


def open_launcher(state: Path, *, start_grace_s: float = 60.0) -> LocalLauncher:
    """A launcher as another process would have it: nothing is remembered."""
    return LocalLauncher(str(state), command=[sys.executable, "-c"], kill_after_s=0.5, start_grace_s=start_grace_s)


def order(code: str, *, timeout_s: int = 60) -> JobOrder:
    return JobOrder(display_name="a test's job", arguments=[code], labels={"a": "b"}, timeout_s=timeout_s)


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline, f"not reached within {DEADLINE_S} s"
        time.sleep(0.02)


def wait_for_end(launcher: LocalLauncher, name: str) -> JobReport:
    wait_until(lambda: launcher.report([name])[name].state.ended)
    return launcher.report([name])[name]


def start(
    launcher: LocalLauncher, code: str = SLEEP, key: str = "key-1", *, timeout_s: int = 60
) -> tuple[JobReport, Running]:
    """A job that has said its first line."""
    name = launcher.submit(key, order(code, timeout_s=timeout_s)).job_name
    wait_until(lambda: launcher.report([name])[name].progress is not None)
    running = JobFolder(Path(name)).read_running()
    assert running is not None
    return launcher.report([name])[name], running


def claim(state: Path, code: str = SLEEP) -> str:
    """A job whose submitter was killed when it was about to start the supervisor; returns its name."""
    command = [sys.executable, "-c", SUBMIT, str(state), code, "subprocess.Popen"]
    assert subprocess.run(command, input=b"").returncode == -signal.SIGKILL
    return str(state / "jobs" / "key-1")


def lives(process: psutil.Process) -> bool:
    """A process that has ended does not count as alive while its exit status is unread."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def age(path: Path, *, seconds: float) -> None:
    os.utime(path, (time.time() - seconds, time.time() - seconds))
