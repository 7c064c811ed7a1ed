"""One job of this machine, as a folder: what was ordered, what runs it, how it ended. The folder's lock is the truth.

    order.json    what to run; written once, before any supervisor is started
    running.json  what runs it; written once, before the training may start
    exit.json     how it ended, with all that a report needs; written once, and nothing else changes after it
    cancel        someone asked to cancel it
    late          its time ran out while its supervisor was held, and the supervisor is about to be killed
    log.txt       what the training, and its supervisor, said

A supervisor holds the folder's lock as long as it lives. Another process that gets the lock knows that there is none,
and may write the end (`end_unwatched`).
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from switchyard.clients.launchers.local.job_log import find_error, read_tail, to_last_words, to_progress
from switchyard.clients.launchers.local.plain_files import StrangeFile, read_plain
from switchyard.clients.launchers.local.processes import Identity, kill_family
from switchyard.clients.objects.file_uris import to_uri
from switchyard.clients.objects.folders import open_folder, replace_file, to_error, try_lock, unlock
from switchyard.core.errors import BadRecord
from switchyard.core.runs.jobs import JobOrder, JobReport, JobState, Progress, Reason

T = TypeVar("T", bound=msgspec.Struct)

_KILL_WAIT_S = 5.0
_RECORD_BYTES = 4 * 1024 * 1024  # a thousand times what a record has


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: ``command`` and then the order's arguments."""

    order: JobOrder
    created_at: datetime
    command: list[str]
    kill_after_s: float  # from SIGTERM to SIGKILL


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What runs a job. The training began its own session, so its id is also its session's and its group's."""

    supervisor: Identity
    training: Identity
    started_at: datetime


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended: enough to report and to list the job without reading any other file."""

    state: JobState
    reason: Reason
    message: str
    labels: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime
    exit_status: int | None = None
    signal: int | None = None
    cancelled: bool = False  # someone asked to cancel it; it may still have succeeded
    timed_out: bool = False
    progress: Progress | None = None


class JobFolder:
    """The files of one job. Readers return None for a file that is not there yet.

    Raises (all readers): BadRecord: a file was damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = path.name
        self.log = path / "log.txt"

    def read_order(self) -> Order | None:
        """Returns what was ordered; None: the claim was interrupted before the order was written."""
        return self._read("order.json", Order)

    def read_running(self) -> Running | None:
        """Returns what runs it, or did."""
        return self._read("running.json", Running)

    def read_exit(self) -> Exit | None:
        """Returns how it ended."""
        return self._read("exit.json", Exit)

    @property
    def cancel_asked(self) -> bool:
        """Returns whether someone asked to cancel it."""
        return os.path.lexists(self.path / "cancel")  # of any kind

    def ask_to_cancel(self) -> None:
        """Leaves the mark that the supervisor looks for. A second call does nothing."""
        if not self.cancel_asked:
            (self.path / "cancel").touch()

    def note_late(self) -> None:
        """Leaves the mark that says why the supervisor is gone, for the process that writes the end.

        A second call does nothing."""
        if not os.path.lexists(self.path / "late"):
            (self.path / "late").touch()

    @property
    def claimed_at(self) -> datetime:
        """Returns when the order was last handed to a supervisor; without an order, when the folder last changed."""
        try:
            claimed_s = (self.path / "order.json").lstat().st_mtime
        except FileNotFoundError:
            claimed_s = self.path.stat().st_mtime
        return datetime.fromtimestamp(claimed_s, UTC)

    def renew_claim(self) -> None:
        """Counts the time for a start from now: another supervisor is about to be started."""
        (self.path / "order.json").touch()

    @contextmanager
    def lock(self, *, wait_s: float = 0.0) -> Iterator[int | None]:
        """Yields the folder's descriptor, locked; None: another process held the lock for all of `wait_s`."""
        with open_folder(self.path) as folder:
            deadline = time.monotonic() + wait_s
            while not try_lock(folder):
                if time.monotonic() >= deadline:
                    yield None
                    return
                time.sleep(0.02)
            try:
                yield folder
            finally:
                unlock(folder)

    def write(self, folder: int, record: Order | Running | Exit) -> None:
        """Writes a record whole. `folder` is the descriptor that holds the lock."""
        name = {Order: "order.json", Running: "running.json", Exit: "exit.json"}[type(record)]
        replace_file(folder, name, lambda file: file.write(msgspec.json.encode(record)))

    def to_exit(self, state: JobState, reason: Reason, message: str, *, now: datetime) -> Exit:
        """Returns the end of this job, completed by what its other files say. A damaged file is left out.

        The message of a failure begins with the training's own error; if it gave none, it ends with the log's last
        lines."""
        tail = read_tail(self.log)
        try:
            order = self.read_order()
        except BadRecord as err:
            order, message = None, f"{message}; {err}"
        try:
            running = self.read_running()
        except BadRecord as err:
            running, message = None, f"{message}; {err}"
        if state is JobState.FAILED:
            if error := find_error(tail):
                message = f"{error}; {message}"
            elif last_words := to_last_words(tail):
                message = f"{message}; its log ends: {last_words}"
        return Exit(
            state=state,
            reason=reason,
            message=message,
            labels=order.order.labels if order else {},
            created_at=order.created_at if order else self.claimed_at,
            started_at=running.started_at if running else None,
            ended_at=now,
            cancelled=self.cancel_asked,
            progress=to_progress(tail),
        )

    def end_unwatched(self, folder: int, *, now: datetime, start_grace_s: float) -> Exit | None:
        """Writes the end of a job that has no supervisor, if it has ended.

        `folder` is the descriptor that holds the lock, so only one caller does this. An orphaned training is killed
        first, so that nothing of it acts later.

        Returns None while a supervisor may still come, or the training could not be killed.
        """
        done = self.read_exit()
        if done:
            return done
        running = self.read_running()
        if running:
            if kill_family(running.training, str(self.path), wait_s=_KILL_WAIT_S):
                return None
            if os.path.lexists(self.path / "late"):
                message = (
                    f"it ran past its timeout while its supervisor (process {running.supervisor.pid}) was held by "
                    "SIGSTOP, so both were ended"
                )
                end = self.to_exit(JobState.FAILED, Reason.TIMED_OUT, message, now=now)
                end = msgspec.structs.replace(end, timed_out=True)
                self.write(folder, end)
                return end
            message = f"its supervisor (process {running.supervisor.pid}) was killed, so the training was ended as well"
            end = self.to_exit(JobState.FAILED, Reason.SUPERVISOR_LOST, message, now=now)
        elif self.cancel_asked:
            end = self.to_exit(JobState.CANCELLED, Reason.CANCEL_ASKED, "cancelled before it started", now=now)
        elif (now - self.claimed_at).total_seconds() > start_grace_s:
            message = f"no supervisor has started it within {start_grace_s:.0f} s"
            end = self.to_exit(JobState.FAILED, Reason.NEVER_STARTED, message, now=now)
        else:
            return None
        self.write(folder, end)
        return end

    def to_report(self, end: Exit) -> JobReport:
        """Returns the report of a job that has ended."""
        return JobReport(
            job_name=str(self.path),
            key=self.key,
            state=end.state,
            reason=end.reason,
            message=end.message,
            log_uri=to_uri(self.log),
            created_at=end.created_at,
            started_at=end.started_at,
            ended_at=end.ended_at,
            progress=end.progress,
        )

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self.path / name
        try:
            return msgspec.json.decode(read_plain(path, max_bytes=_RECORD_BYTES), type=kind)
        except FileNotFoundError:
            return None
        except (StrangeFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
            problem = f"{err}; the file was damaged: look at {self.log}, remove the folder, then train again"
            raise BadRecord(str(path), [problem]) from err
        except OSError as err:
            raise to_error(err, f"read {path}") from err
