"""Vertex AI's JobService for CustomJobs, without a wire: both fronts call `VertexCore.invoke`.

It stands for Google's behaviour, not for our client: each rule names its source. What no source says is marked so and
can be configured.
"""

import random
import re
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.cloud.aiplatform_v1.types import (
    CancelCustomJobRequest,
    CreateCustomJobRequest,
    CustomJob,
    DeleteCustomJobRequest,
    DeleteOperationMetadata,
    GetCustomJobRequest,
    JobState,
    ListCustomJobsRequest,
    ListCustomJobsResponse,
)
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, field_mask_pb2
from google.rpc import code_pb2, status_pb2

from tests.emulators.faults import Faults
from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_errors import ServiceError, invalid, to_code
from tests.emulators.vertex_filter import parse_filter
from tests.emulators.vertex_pages import read_token, write_token
from tests.emulators.vertex_rates import Rates
from tests.emulators.vertex_rules import count_vcpus, find_violations
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
_OUTPUT_ONLY = ("name", "state", "create_time", "start_time", "end_time", "update_time", "error", "web_access_uris")
_LOCATION = re.compile(r"^projects/([^/]+)/locations/([^/]+)$")
_NAME = re.compile(r"^projects/([^/]+)/locations/([^/]+)/customJobs/(\d+)$")

_FAULT_TEXTS = {
    401: "Request had invalid authentication credentials.",
    403: "Permission 'aiplatform.customJobs.create' denied on resource (or it may not exist).",
    429: "Quota exceeded for quota metric 'Resource management (CRUD) requests'.",
    500: "Internal error encountered.",
    503: "The service is currently unavailable.",
    504: "Deadline exceeded.",
}

CREATE, GET, LIST = "CreateCustomJob", "GetCustomJob", "ListCustomJobs"
CANCEL, DELETE = "CancelCustomJob", "DeleteCustomJob"
REQUESTS: dict[str, Any] = {
    CREATE: CreateCustomJobRequest.pb(),
    GET: GetCustomJobRequest.pb(),
    LIST: ListCustomJobsRequest.pb(),
    CANCEL: CancelCustomJobRequest.pb(),
    DELETE: DeleteCustomJobRequest.pb(),
}
"""Raw request message classes by method."""


class ConnectionDropped(Exception):
    """The front must lose the connection."""


@dataclass
class _Record:
    job: Any  # raw CustomJob
    visible_at: float  # when LIST sees it
    error: Any = None  # google.rpc.Status, shown from `error_at` on
    error_at: float = 0.0
    run: JobRun | None = None
    vcpus: int = 0  # held of the quota


class VertexCore:
    """All jobs of one project, in every location. Thread-safe."""

    def __init__(self, config: VertexConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.faults = Faults()  # by method, on a resource name; it counts every request, refused ones too
        self.stockouts = 0  # how many of the next searches for machines find none
        self._clock = clock
        self._lock = threading.RLock()
        self._records: dict[str, _Record] = {}  # in order of creation
        self._rates = Rates(config, clock)
        self._last_create = datetime.min.replace(tzinfo=UTC)
        self._folder = tempfile.TemporaryDirectory(prefix="vertex-emulator-", ignore_cleanup_errors=True)
        self._methods: dict[str, Callable[[Any], Any]] = {
            CREATE: self._create,
            GET: self._get,
            LIST: self._list,
            CANCEL: self._cancel,
            DELETE: self._delete,
        }

    # The service ------------------------------------------------------------------------------------------------------

    def invoke(self, method: str, request: Any, *, token: str = "") -> Any:
        """Answers one request: raw message in, raw message out.

        Raises: ServiceError; ConnectionDropped: a fault says so.
        """
        target = getattr(request, "name", "") or getattr(request, "parent", "")
        fault = self.faults.take(method, target)
        if fault.after:
            answer = self._carry_out(method, request, target, token)
        if fault.delay_s:
            time.sleep(fault.delay_s)  # a slow service; tests set their client's deadline below it
        if fault.hold:
            self.faults.wait_released(fault)
        if fault.status and not fault.broken:
            raise ServiceError(to_code(fault.status), fault.message or _FAULT_TEXTS.get(fault.status, "Injected."))
        if not fault.after and not fault.status:
            answer = self._carry_out(method, request, target, token)
        if fault.broken:
            raise ConnectionDropped
        return answer

    def _carry_out(self, method: str, request: Any, target: str, token: str) -> Any:
        if self.config.requires_token and not token:
            raise ServiceError(code_pb2.UNAUTHENTICATED, "Request is missing required authentication credential.")
        self._rates.spend(method, "".join(target.split("/")[3:4]))
        return self._methods[method](request)

    def _create(self, request: Any) -> Any:
        location = self._check_parent(request.parent)
        job = CustomJob.pb()()
        job.CopyFrom(request.custom_job)
        for name in _OUTPUT_ONLY:
            job.ClearField(name)  # output-only fields in a request are ignored: https://google.aip.dev/203
        violations = find_violations(job, self.config.persistent_resources)
        if violations:
            raise invalid(violations)
        vcpus = _count_job_vcpus(job)
        if vcpus > self.config.training_cpus:
            # The words that people quote for a job that can never fit (e.g. vertex-ai-samples issue 3479).
            raise ServiceError(
                code_pb2.RESOURCE_EXHAUSTED,
                "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus",
            )
        with self._lock:
            # Resource names come back with the project's number, whatever the request named it by.
            job.name = (
                f"projects/{self.config.project_number}/locations/{location}"
                f"/customJobs/{random.randrange(10**18, 9 * 10**18)}"
            )
            job.state = JobState.JOB_STATE_QUEUED
            self._stamp_creation(job)
            record = _Record(job, visible_at=self._clock() + self.config.list_lag_s)
            self._records[job.name] = record
            if self.config.new_job_state is None:
                self._check_image(job)
                record.run = JobRun(self, job.name)
                record.run.start()
            elif self.config.new_job_state != JobState.JOB_STATE_QUEUED:
                self._enter(record, self.config.new_job_state)
            return self._shown(record)

    def _check_image(self, job: Any) -> None:
        for pool in job.job_spec.worker_pool_specs:
            image = pool.container_spec.image_uri
            if pool.ByteSize() and image not in self.config.images and not pool.container_spec.command:
                del self._records[job.name]
                raise ServiceError(
                    code_pb2.INVALID_ARGUMENT,
                    f"This emulator has no entrypoint for image {image!r}; it knows {sorted(self.config.images)}.",
                )

    def _get(self, request: Any) -> Any:
        with self._lock:
            return self._shown(self._find(request.name))

    def _list(self, request: Any) -> Any:
        location = self._check_parent(request.parent)
        if request.page_size < 0:
            raise invalid([("page_size", "must not be negative.")])
        keeps = parse_filter(request.filter)
        size = min(request.page_size or self.config.max_page_size, self.config.max_page_size)
        before = read_token(request.page_token, request.filter)
        paths = list(request.read_mask.paths)
        if paths and not request.read_mask.IsValidForDescriptor(CustomJob.pb().DESCRIPTOR):
            raise invalid([("read_mask", f"unknown field among {paths}.")])
        answer = ListCustomJobsResponse.pb()()
        prefix = f"projects/{self.config.project_number}/locations/{location}/"
        with self._lock:
            now = self._clock()
            # ListCustomJobsRequest has no order_by and its order is not documented: newest first here.
            for record in reversed(self._records.values()):
                job = record.job
                if before is not None and (job.create_time.ToMicroseconds(), job.name) >= before:
                    continue
                if not job.name.startswith(prefix) or record.visible_at > now or not keeps(job):
                    continue
                if len(answer.custom_jobs) == size:
                    last = answer.custom_jobs[-1].name
                    answer.next_page_token = write_token(self._records[last].job, request.filter)
                    break
                shown = self._shown(record)
                if paths and self.config.honours_read_mask:
                    masked = CustomJob.pb()(name=shown.name)
                    field_mask_pb2.FieldMask(paths=paths).MergeMessage(shown, masked)
                    shown = masked
                answer.custom_jobs.append(shown)
        return answer

    def _cancel(self, request: Any) -> Any:
        with self._lock:
            record = self._find(request.name)
            if record.job.state in TERMINAL:
                raise ServiceError(
                    code_pb2.FAILED_PRECONDITION,
                    f"Cannot cancel CustomJob {request.name}: its state is {_state_name(record.job.state)}.",
                )
            # "Starts asynchronous cancellation on the CustomJob" (JobService.CancelCustomJob): success is not
            # guaranteed, and the job may still end otherwise.
            if record.run is None:
                self._enter(record, JobState.JOB_STATE_CANCELLING)
            elif record.job.state != JobState.JOB_STATE_CANCELLING:
                self._enter(record, JobState.JOB_STATE_CANCELLING)
                record.run.inbox.put("cancel")
        return empty_pb2.Empty()

    def _delete(self, request: Any) -> Any:
        with self._lock:
            record = self._find(request.name)
            # Deleting a job that runs cancels it (gcloud refuses; the API does not document it).
            if record.run is not None:
                record.run.inbox.put("stop")
            del self._records[request.name]
        operation = operations_pb2.Operation(name=f"{request.name}/operations/{random.randrange(10**18)}", done=True)
        operation.response.Pack(empty_pb2.Empty())
        operation.metadata.Pack(DeleteOperationMetadata.pb()())
        return operation

    # What tests and operators do to it --------------------------------------------------------------------------------

    def read(self, name: str) -> Any:
        """A copy of the job as a GET would show it, uncounted."""
        with self._lock:
            return self._shown(self._find(name))

    def list_names(self) -> list[str]:
        """All jobs' names, oldest first."""
        with self._lock:
            return list(self._records)

    def move(self, name: str, state: int, *, code: int = 0, message: str = "") -> None:
        """Puts a job in any state, numbers that no JobState has included; a job that is being cancelled or has ended
        is moved only by `end`."""
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
            need = _count_job_vcpus(record.job)
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
        """No jobs, no faults, no counts: every process is ended, at once."""
        self.faults.forget()
        with self._lock:
            runs = [record.run for record in self._records.values() if record.run is not None]
            self._records.clear()
            self._rates = Rates(self.config, self._clock)
            self.stockouts = 0
        for run in runs:
            run.inbox.put("stop")
        for run in runs:
            run.join(30)

    def close(self) -> None:
        """Ends every process at once and removes all folders."""
        self.clear()
        self._folder.cleanup()

    # Within -----------------------------------------------------------------------------------------------------------

    def _check_parent(self, parent: str) -> str:
        match = _LOCATION.match(parent)
        if match is None:
            raise invalid([("parent", f"must be projects/<project>/locations/<location>; got {parent!r}.")])
        self._check_project(match[1])
        return match[2]

    def _check_project(self, project: str) -> None:
        if project not in (self.config.project, self.config.project_number):
            # A project that is not there and one that the caller may not see are not told apart.
            raise ServiceError(
                code_pb2.PERMISSION_DENIED,
                f"Permission 'aiplatform.customJobs.create' denied on resource '//aiplatform.googleapis.com/"
                f"projects/{project}' (or it may not exist).",
            )

    def _find(self, name: str) -> _Record:
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

    def _enter(self, record: _Record, state: int, code: int = 0, message: str = "") -> None:
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

    def _shown(self, record: _Record) -> Any:
        shown = CustomJob.pb()()
        shown.CopyFrom(record.job)
        if record.error is not None and self._clock() >= record.error_at:
            shown.error.CopyFrom(record.error)
        return shown


def _count_job_vcpus(job: Any) -> int:
    return sum(
        count_vcpus(pool.machine_spec.machine_type) * pool.replica_count for pool in job.job_spec.worker_pool_specs
    )


def _state_name(state: int) -> str:
    return next((member.name for member in JobState if member == state), str(state))
