"""The jobs of a Vertex AI project: their states and times, the CPUs they hold, their processes and logs."""

import re
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.cloud.aiplatform_v1.types import CustomJob, JobState
from google.rpc import code_pb2, status_pb2

from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_errors import ServiceError, invalid
from tests.emulators.vertex_rules import count_vcpus
from tests.emulators.vertex_run import Act, JobRun

# JobState's own comments: from CANCELLING a job goes to SUCCEEDED, FAILED or CANCELLED; PAUSED can be resumed.
TERMINAL = frozenset(
    {
        JobState.JOB_STATE_SUCCEEDED,
        JobState.JOB_STATE_FAILED,
        JobState.JOB_STATE_CANCELLED,
        JobState.JOB_STATE_EXPIRED,
        JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
    }
)
# CustomJob.end_time names these three; CustomJob.error the latter two.
_WITH_END_TIME = (JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED)
_WITH_ERROR = (JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED)
_NAME = re.compile(r"^projects/([^/]+)/locations/([^/]+)/customJobs/(\d+)$")


@dataclass
class Record:
    """One job, and what no message of it has."""

    job: Any  # raw CustomJob
    visible_at: float  # when LIST sees it
    error: Any = None  # google.rpc.Status, shown from `error_at` on
    error_at: float = 0.0
    run: JobRun | None = None
    vcpus: int = 0  # held of the quota


class JobTable:
    """All jobs, as the service and their own threads change them, and as tests do. Thread-safe."""

    def __init__(self, config: VertexConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.stockouts = 0  # how many of the next searches for machines find none
        self._clock = clock
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}  # in order of creation
        self._last_create = datetime.min.replace(tzinfo=UTC)
        self._folder = tempfile.TemporaryDirectory(prefix="vertex-emulator-", ignore_cleanup_errors=True)

    def read(self, name: str) -> Any:
        """A copy of the job as a GET would show it, uncounted."""
        with self._lock:
            return self._shown(self._find(name))

    def list_names(self) -> list[str]:
        """All jobs' names, oldest first."""
        with self._lock:
            return list(self._records)

    def move(self, name: str, state: int, *, code: int = 0, message: str = "") -> None:
        """Puts a job in any state, numbers that no JobState has included.

        A job that is being cancelled or has ended is moved only by `end`.
        """
        with self._lock:
            record = self._records.get(name)
            if record is None or record.job.state in (*TERMINAL, JobState.JOB_STATE_CANCELLING):
                return
            self._enter(record, state, code, message)

    def end(self, name: str, state: int, code: int = 0, message: str = "") -> None:
        """Ends a job, from CANCELLING too. A second call does nothing."""
        with self._lock:
            record = self._records.get(name)
            if record is None or record.job.state in TERMINAL:
                return
            record.vcpus = 0
            self._enter(record, state, code, message)

    def act(self, name: str, act: Act) -> None:
        """Does to a running job what a cloud does: kill, restart, preempt, run_out_of_memory, timeout."""
        with self._lock:
            run = self._find(name).run
        if run is None:
            raise ServiceError(code_pb2.FAILED_PRECONDITION, f"{name} runs no process.")
        run.inbox.put(act)

    def pids_of(self, name: str) -> list[int]:
        """The process ids of a job's running containers, the primary's first."""
        with self._lock:
            run = self._find(name).run
        return [replica.pid for replica in run.replicas if replica.pid is not None] if run else []

    def log_of(self, name: str) -> str:
        """What the job's containers wrote, the primary's first."""
        logs = sorted(self.folder_of(name).glob("*.log"))
        return "".join(log.read_text(errors="replace") for log in logs)

    def folder_of(self, name: str) -> Path:
        """Where a job's containers have their disks and logs."""
        return Path(self._folder.name) / name.rpartition("/")[2]

    def take_quota(self, name: str) -> bool:
        """Holds the CPUs of a job, or says that others hold them. A second call keeps what is held."""
        with self._lock:
            record = self._records.get(name)
            if record is None:
                return True
            need = count_job_vcpus(record.job)
            held = sum(other.vcpus for other in self._records.values() if other is not record)
            if held + need > self.config.training_cpus:
                return False
            record.vcpus = need
            return True

    def take_stockout(self) -> bool:
        """True when this search for machines finds none."""
        with self._lock:
            if self.stockouts == 0:
                return False
            self.stockouts -= 1
            return True

    def clear(self) -> None:
        """No jobs: every process is ended, at once."""
        with self._lock:
            runs = [record.run for record in self._records.values() if record.run is not None]
            self._records.clear()
            self.stockouts = 0
        for run in runs:
            run.inbox.put("stop")
        for run in runs:
            run.join(30)

    def close(self) -> None:
        """Ends every process at once and removes all folders."""
        self.clear()
        self._folder.cleanup()

    def _check_project(self, project: str) -> None:
        if project not in (self.config.project, self.config.project_number):
            # A project that is not there and one that the caller may not see are not told apart.
            raise ServiceError(
                code_pb2.PERMISSION_DENIED,
                f"Permission 'aiplatform.customJobs.create' denied on resource '//aiplatform.googleapis.com/"
                f"projects/{project}' (or it may not exist).",
            )

    def _find(self, name: str) -> Record:
        match = _NAME.match(name)
        if match is None:
            raise invalid([("name", f"invalid CustomJob resource name {name!r}.")])
        self._check_project(match[1])
        record = self._records.get(f"projects/{self.config.project_number}/locations/{match[2]}/customJobs/{match[3]}")
        if record is None:
            raise ServiceError(code_pb2.NOT_FOUND, f"CustomJob does not exist: {name}")
        return record

    def _stamp_creation(self, job: Any) -> None:
        now = max(datetime.now(UTC), self._last_create + timedelta(microseconds=1))
        self._last_create = now
        job.create_time.FromDatetime(now)
        job.update_time.FromDatetime(now)

    def _enter(self, record: Record, state: int, code: int = 0, message: str = "") -> None:
        job = record.job
        job.state = state
        job.update_time.GetCurrentTime()
        # "Time when the CustomJob for the first time entered the JOB_STATE_RUNNING state" (CustomJob.start_time).
        ran = (JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_SUCCEEDED)
        if state in ran and not job.HasField("start_time"):
            job.start_time.GetCurrentTime()
        if state in _WITH_END_TIME:
            job.end_time.GetCurrentTime()
        if state in _WITH_ERROR and code:
            record.error = status_pb2.Status(code=code, message=message)
            record.error_at = self._clock() + self.config.error_delay_s

    def _shown(self, record: Record) -> Any:
        shown = CustomJob.pb()()
        shown.CopyFrom(record.job)
        if record.error is not None and self._clock() >= record.error_at:
            shown.error.CopyFrom(record.error)
        return shown


def count_job_vcpus(job: Any) -> int:
    """The CPUs that a job's machines take of the project's quota."""
    return sum(
        count_vcpus(pool.machine_spec.machine_type) * pool.replica_count for pool in job.job_spec.worker_pool_specs
    )
