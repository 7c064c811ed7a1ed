"""Processes of this machine that are told apart for certain: a process id alone is used again by the kernel."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec
import psutil

JOB_FOLDER_VARIABLE: Final = "SWITCHYARD_JOB_FOLDER"
"""Set in a training's environment, so that its processes are known as this job's also where its first one is gone."""

_SAME_START_S = 2.0  # start times are derived from the clock on Linux, which may be corrected by a little meanwhile


class Identity(msgspec.Struct, frozen=True):
    """One process, never to be mistaken for a later one with the same id. `started_s` is its start, in Unix time."""

    pid: int
    started_s: float

    def find(self) -> psutil.Process | None:
        """The process, while it lives; None when it is gone, a zombie, or another one has its id by now."""
        with suppress(psutil.Error):  # gone, or another user's, so not the one we started
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_s) <= _SAME_START_S and _lives(process):
                return process
        return None


def identify(pid: int) -> Identity:
    """The identity of a process that lives now."""
    return Identity(pid=pid, started_s=psutil.Process(pid).create_time())


def kill_session(leader: Identity, job_folder: str, *, wait_s: float) -> list[int]:
    """Kills every process of the session that `leader` began, where it is provably the job's: the leader itself lives,
    or the process bears the job's folder in its environment. Returns the ids of those that live on after `wait_s`.
    """
    victims = list(_list_session(leader, job_folder))
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    # psutil's own wait would take the exit status of a child, which its parent is still to read.
    deadline = time.monotonic() + wait_s
    while (alive := [victim.pid for victim in victims if _lives(victim)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _list_session(leader: Identity, job_folder: str) -> Iterator[psutil.Process]:
    leader_lives = leader.find() is not None
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it ended meanwhile, or is another user's
            if os.getsid(process.pid) != leader.pid:
                continue
            if leader_lives or process.environ().get(JOB_FOLDER_VARIABLE) == job_folder:
                yield process
