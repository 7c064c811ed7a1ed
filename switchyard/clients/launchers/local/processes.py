"""Tells processes of this machine apart for certain: the kernel uses a process id again."""

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec
import psutil

JOB_FOLDER_VARIABLE: Final = "SWITCHYARD_JOB_FOLDER"
"""Stands in a training's environment: its processes are known as this job's even if its first one is gone."""

_SAME_START_S = 2.0  # Linux derives start times from the clock, which may be corrected a little meanwhile
_SET_CHILD_SUBREAPER = 36  # Source: linux/prctl.h; `man 2 PR_SET_CHILD_SUBREAPER`


class Identity(msgspec.Struct, frozen=True):
    """One process, never confused with a later one of the same id. `started_s` is its start, in Unix time."""

    pid: int
    started_s: float

    def find(self) -> psutil.Process | None:
        """Returns the process while it lives; None: it is gone, a zombie, or another process has its id by now."""
        with suppress(psutil.Error):  # gone, or another user's, so not the one we started
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_s) <= _SAME_START_S and _lives(process):
                return process
        return None


def identify(pid: int) -> Identity:
    """Returns the identity of a process that lives now."""
    return Identity(pid=pid, started_s=psutil.Process(pid).create_time())


def is_stopped(process: psutil.Process) -> bool:
    """Returns true for a process that SIGSTOP, a terminal or a debugger holds."""
    with suppress(psutil.Error):
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    return False


def adopt_orphans() -> None:
    """Makes this process, not init, the parent of its orphaned descendants from now on. None of them is lost sight of.

    Linux only. Elsewhere nothing happens, and a process that both left its session and cleared its environment outlives
    the job."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library without prctl
            ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def bury_orphans(*, but: int) -> None:
    """Takes the exit status of adopted children that have ended, which would stay as zombies.

    Another waits for child `but`, which keeps its status."""
    if sys.platform == "linux":
        with suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != but:
                os.waitpid(ended.si_pid, 0)


def kill_family(leader: Identity, job_folder: str, *, wait_s: float, adopted: bool = False) -> list[int]:
    """Kills every process that is provably the job's, until there is none.

    These are the processes of the session that `leader` began, as long as it lives; those with the job's folder in
    their environment; what these have started; and, with `adopted`, all that this process has started or adopted
    (`adopt_orphans`). Returns the ids of those that still live after `wait_s`.
    after `wait_s`.
    """
    deadline = time.monotonic() + wait_s
    while True:  # one of them may start another during the search
        family = _list_family(leader, job_folder, adopted=adopted)
        alive = [process for process in family if process.pid != os.getpid() and _lives(process)]
        for victim in alive:
            with suppress(psutil.Error):
                victim.kill()
        # psutil's own wait would take the exit status of a child, which its parent still has to read.
        if not alive or time.monotonic() >= deadline:
            return [victim.pid for victim in alive if _lives(victim)]
        time.sleep(0.01)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _list_family(leader: Identity, job_folder: str, *, adopted: bool) -> Iterator[psutil.Process]:
    leader_lives = leader.find() is not None
    if adopted:
        yield from psutil.Process().children(recursive=True)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it ended meanwhile, or is another user's
            if (leader_lives and os.getsid(process.pid) == leader.pid) or (
                process.environ().get(JOB_FOLDER_VARIABLE) == job_folder
            ):
                yield from process.children(recursive=True)
                yield process
