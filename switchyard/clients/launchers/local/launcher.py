"""Runs training jobs as processes of this machine. Each job has a supervisor, which outlives its submitter."""

import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil

from switchyard.clients.launchers.local.job_folder import Exit, JobFolder, Order, Running
from switchyard.clients.launchers.local.job_log import read_tail, to_last_words, to_progress
from switchyard.clients.launchers.local.plain_files import open_log
from switchyard.clients.launchers.local.processes import JOB_FOLDER_VARIABLE, is_stopped
from switchyard.clients.objects.file_uris import to_uri
from switchyard.clients.objects.folders import make_folder, to_error, translated
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain
from switchyard.core.runs.jobs import JobOrder, JobReport, JobState, Reason

_START_WAIT_S = 120.0
_CLAIM_WAIT_S = 30.0
_CLOCKS_DIFFER = timedelta(minutes=1)  # a file system's from ours: by a few milliseconds on Linux
_HELD_S = 30.0  # for a released supervisor to end its training


class _Seen(msgspec.Struct, frozen=True):
    report: JobReport
    labels: dict[str, str]


class LocalLauncher:
    """Implements `core.ports.Launcher` on this machine. A job's name is its folder, ``<state_dir>/jobs/<key>``.

    `command` runs the trainer; the order's arguments follow it. A job that must end gets SIGTERM, and SIGKILL
    `kill_after_s` later. A job that no supervisor has taken up within `start_grace_s` never started. That time is long,
    because a loaded machine starts processes late, and a wrong answer would end a run.
    """

    def __init__(
        self,
        state_dir: str,
        *,
        command: Sequence[str] = (sys.executable, "-m", "trainer"),
        kill_after_s: float = 30.0,
        start_grace_s: float = 60.0,
    ) -> None:
        self._jobs = Path(state_dir).absolute() / "jobs"
        self._command = list(command)
        self._kill_after_s = kill_after_s
        self._start_grace_s = start_grace_s
        self._ended: dict[Path, _Seen] = {}  # an ended job never changes

    def submit(self, key: str, order: JobOrder) -> JobReport:
        """See the port. Takes up a claim with a submitter that was killed before it started a supervisor.

        Raises:
            BadRequest: a key that is not a label, or a timeout that is not positive.
            BadSetup: the supervisor cannot be started from this environment.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", key):
            raise BadRequest(f"a job's key must be 1 to 63 of a-z, 0-9, _ and -; got {key!r}")
        if order.timeout_s <= 0:
            raise BadRequest(f"timeout_s of job {key} must be positive; got {order.timeout_s}")
        job = JobFolder(self._jobs / key)
        with translated(f"submit a job in {job.path}"):
            with suppress(BadRecord):  # the report then says that a record is damaged
                self._claim(job, order)
                if not job.read_exit() and not job.read_running():
                    self._start_supervisor(job)
            return self._look(job).report

    def report(self, job_names: Sequence[str]) -> dict[str, JobReport]:
        """See the port. An orphaned training is ended here: its job has failed."""
        reports = {}
        for name in job_names:
            job = JobFolder(Path(name))
            if job.path.parent == self._jobs and (seen := self._look_safely(job)):
                reports[name] = seen.report
        return reports

    def list(self, labels: Mapping[str, str], since: datetime, *, beside: str = "") -> list[JobReport]:
        """See the port. A folder that has not changed since `since` is not read: its job was created before that.

        Of the others, one small file is read for an ended job, and only the first time. A job with a damaged order has
        no labels; `report` says what is wrong with it."""
        found = []
        unchanged_s = (since - _CLOCKS_DIFFER).timestamp()
        with translated(f"list the jobs in {self._jobs}"):
            for key in self._list_keys(lambda changed_s: changed_s >= unchanged_s):
                seen = self._look_safely(JobFolder(self._jobs / key))
                if seen and labels.items() <= seen.labels.items() and seen.report.created_at >= since:
                    found.append(seen.report)
        return sorted(found, key=lambda report: (report.created_at, report.key))

    def cancel(self, job_name: str) -> None:
        """See the port. Cancels a job that has not started yet at once.

        Raises:
            BadRecord: a record of the job was damaged; if it still runs, it will be cancelled.
        """
        job = JobFolder(Path(job_name))
        if job.path.parent != self._jobs or not job.path.is_dir():
            raise NotFound(f"expected a job's folder in {self._jobs}; there is none at {job_name}")
        with translated(f"cancel the job in {job_name}"):
            if job.read_exit():
                return
            job.ask_to_cancel()
            running = job.read_running()
            supervisor = running.supervisor.find() if running else None
            if supervisor:
                with suppress(psutil.NoSuchProcess):  # it has just ended
                    supervisor.send_signal(signal.SIGTERM)
                    supervisor.send_signal(signal.SIGCONT)  # a held one would not see the signal
                return
            with job.lock() as folder:
                if folder is not None:
                    job.end_unwatched(folder, now=datetime.now(UTC), start_grace_s=self._start_grace_s)

    def list_old(self, labels: Mapping[str, str], before: datetime, limit: int) -> Sequence[JobReport]:
        """See the port. At most `limit` folders are read, chosen by chance.

        Those that must stay (another database's, or unsettled) must not hide the others."""
        found = []
        with translated(f"list the jobs in {self._jobs}"):
            unchanged_s = before.timestamp()
            keys = self._list_keys(lambda changed_s: changed_s < unchanged_s)
        for key in random.sample(keys, min(limit, len(keys))):
            job = JobFolder(self._jobs / key)
            with suppress(BadRecord, SwitchyardError):  # a person must remove a damaged one
                end = job.read_exit()
                if end and end.ended_at < before and labels.items() <= end.labels.items():
                    found.append(job.to_report(end))
        return found

    def prune(self, job_names: Sequence[str]) -> int:
        """See the port. A folder leaves the jobs as a whole, before anything in it is removed.

        Half a folder would look like a job that has not begun."""
        pruned = 0
        trash = self._jobs.parent / "pruned"
        with translated(f"remove old jobs from {self._jobs}"):
            make_folder(trash, mode=0o700)
            for name in job_names:
                job = JobFolder(Path(name))
                if job.path.parent != self._jobs or not job.path.is_dir():
                    continue
                with suppress(FileNotFoundError), job.lock() as folder:  # removed meanwhile
                    if folder is not None and job.read_exit():
                        job.path.rename(trash / f"{job.key}-{uuid.uuid4().hex}")
                        self._ended.pop(job.path, None)
                        pruned += 1
            for path in trash.iterdir():  # also what a killed call left
                _remove(path)
        return pruned

    def _list_keys(self, is_wanted: Callable[[float], bool]) -> Sequence[str]:
        """Lists the folders with a wanted time of last change [Unix time], with one stat each. Opens nothing.

        A file that comes or goes changes it, so it is never before the job's creation."""
        try:
            with os.scandir(self._jobs) as entries:
                return [entry.name for entry in entries if _is_folder(entry, is_wanted)]
        except FileNotFoundError:  # before the first job
            return []

    def _claim(self, job: JobFolder, order: JobOrder) -> None:
        """Makes the job's folder and its order, unless another process has."""
        self._make_private(job)
        if job.read_order() or job.read_exit():
            return
        with job.lock(wait_s=_CLAIM_WAIT_S) as folder:
            if folder is None:
                raise TryAgain(f"{job.path} has been locked by another process for {_CLAIM_WAIT_S:.0f} s: try again")
            if not job.read_order() and not job.read_exit():
                job.write(
                    folder,
                    Order(
                        order=order,
                        created_at=datetime.now(UTC),
                        command=self._command,
                        kill_after_s=self._kill_after_s,
                    ),
                )

    def _make_private(self, job: JobFolder) -> None:
        """Makes the job's folder, closed to other users as all jobs are: a log may say anything."""
        make_folder(self._jobs, mode=0o700)
        if stat.S_IMODE(self._jobs.stat().st_mode) != 0o700:  # an earlier release made it
            with suppress(PermissionError):  # another user's
                self._jobs.chmod(0o700)
        make_folder(job.path, mode=0o700)

    def _start_supervisor(self, job: JobFolder) -> None:
        job.renew_claim()
        with open_log(job.log) as log:
            starter = subprocess.Popen(
                [sys.executable, "-m", "switchyard.clients.launchers.local.supervisor", str(job.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name != JOB_FOLDER_VARIABLE},
                start_new_session=True,
            )
        try:
            status = starter.wait(_START_WAIT_S)  # until it has left our process tree
        except subprocess.TimeoutExpired as err:
            raise TryAgain(f"no supervisor for {job.path} started within {_START_WAIT_S:.0f} s: try again") from err
        finally:
            if starter.poll() is None:
                starter.kill()
                starter.wait()
        if status != 0:
            raise BadSetup(
                f"the supervisor of {job.path} did not start: it ended with status {status}; its log ends:\n"
                f"{to_last_words(read_tail(job.log))}"
            )

    def _look_safely(self, job: JobFolder) -> _Seen | None:
        """Looks as `_look` does; None: no such folder. An error concerns only this job."""
        try:
            return self._look(job) if job.path.is_dir() else None
        except FileNotFoundError:  # removed meanwhile
            return None
        except OSError as err:
            return _Seen(_to_unseen(job, str(to_error(err, f"read the job in {job.path}"))), {})
        except Exception as err:  # noqa: BLE001  (reconcile must get to all other jobs, whatever happens here)
            return _Seen(_to_unseen(job, f"could not read the job in {job.path}: {type(err).__name__}: {err}"), {})

    def _look(self, job: JobFolder) -> _Seen:
        known = self._ended.get(job.path)
        if known:
            return known
        try:
            end = job.read_exit()
            running = None if end else job.read_running()
            if running:
                end = self._end_late(job, running)
            if not end and self._may_have_ended(job, running):
                with job.lock() as folder:
                    if folder is not None:  # else the supervisor lives: its lock is the better witness
                        end = job.end_unwatched(folder, now=datetime.now(UTC), start_grace_s=self._start_grace_s)
            if end:
                return self._remember(job, end)
            order = job.read_order()
        except BadRecord as err:
            return _Seen(_to_damaged(job, err), {})
        return _Seen(_to_open(job, order, running), order.order.labels if order else {})

    def _end_late(self, job: JobFolder, running: Running) -> Exit | None:
        """Returns the end of a job that ran out of time while its supervisor was held; None: there is no end yet.

        The supervisor is released first: it enforces the time-out itself, and writes the end under its lock. One that
        is held again and again is killed."""
        supervisor = running.supervisor.find()
        if supervisor is None or not is_stopped(supervisor):
            return None
        order = job.read_order()
        late_s = (datetime.now(UTC) - running.started_at).total_seconds() - (order.order.timeout_s if order else 0)
        if order is None or late_s < 0:
            return None
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if late_s < order.kill_after_s + _HELD_S:
                supervisor.send_signal(signal.SIGCONT)
                return None
            job.note_late()
            supervisor.kill()
        with job.lock(wait_s=_CLAIM_WAIT_S) as folder:
            if folder is None:
                return None
            return job.end_unwatched(folder, now=datetime.now(UTC), start_grace_s=self._start_grace_s)

    def _may_have_ended(self, job: JobFolder, running: Running | None) -> bool:
        if running:
            return running.supervisor.find() is None
        return job.cancel_asked or (datetime.now(UTC) - job.claimed_at).total_seconds() > self._start_grace_s

    def _remember(self, job: JobFolder, end: Exit) -> _Seen:
        self._ended[job.path] = _Seen(job.to_report(end), end.labels)
        return self._ended[job.path]


def _to_open(job: JobFolder, order: Order | None, running: Running | None) -> JobReport:
    return JobReport(
        job_name=str(job.path),
        key=job.key,
        state=JobState.RUNNING if running else JobState.QUEUED,
        reason=Reason.CANCEL_ASKED if job.cancel_asked else Reason.NONE,
        log_uri=to_uri(job.log),
        created_at=order.created_at if order else job.claimed_at,
        started_at=running.started_at if running else None,
        progress=to_progress(read_tail(job.log)) if running else None,
    )


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        with suppress(FileNotFoundError):  # another call removes it too
            shutil.rmtree(path)


def _is_folder(entry: os.DirEntry[str], is_wanted: Callable[[float], bool]) -> bool:
    try:
        return entry.is_dir() and is_wanted(entry.stat().st_mtime)
    except OSError:  # a link that forms a loop, or removed meanwhile
        return False


def _to_unseen(job: JobFolder, problem: str) -> JobReport:
    return JobReport(
        job_name=str(job.path),
        key=job.key,
        state=JobState.RUNNING,
        message=problem,
        log_uri=to_uri(job.log),
        created_at=datetime.now(UTC),
        problem=problem,
    )


def _to_damaged(job: JobFolder, err: BadRecord) -> JobReport:
    """Reports a job with unreadable records: it runs as long as its supervisor holds the lock."""
    with job.lock() as folder:
        state = JobState.RUNNING if folder is None else JobState.FAILED
    return JobReport(
        job_name=str(job.path),
        key=job.key,
        state=state,
        reason=Reason.VANISHED if state.ended else Reason.NONE,
        message=str(err),
        log_uri=to_uri(job.log),
        created_at=job.claimed_at,
        ended_at=job.claimed_at if state.ended else None,
    )
