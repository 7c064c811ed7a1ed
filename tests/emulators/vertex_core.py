"""Vertex AI's JobService for CustomJobs, without a wire: both fronts call `VertexCore.invoke`.

It stands for Google's behaviour, not for our client: each rule names its source. What no source says is marked so and
can be configured.
"""

import random
import re
import time
from collections.abc import Callable
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
from google.rpc import code_pb2

from tests.emulators.faults import Faults
from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_errors import ServiceError, invalid, to_code
from tests.emulators.vertex_filter import parse_filter
from tests.emulators.vertex_pages import read_token, write_token
from tests.emulators.vertex_rates import Rates
from tests.emulators.vertex_rules import find_violations
from tests.emulators.vertex_run import JobRun
from tests.emulators.vertex_table import TERMINAL, JobTable, Record, count_job_vcpus

_OUTPUT_ONLY = ("name", "state", "create_time", "start_time", "end_time", "update_time", "error", "web_access_uris")
_LOCATION = re.compile(r"^projects/([^/]+)/locations/([^/]+)$")

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


class VertexCore(JobTable):
    """The service over all jobs of one project, in every location. Thread-safe."""

    def __init__(self, config: VertexConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(config, clock=clock)
        self.faults = Faults()  # by method, on a resource name; it counts every request, refused ones too
        self._rates = Rates(config, clock)
        self._methods: dict[str, Callable[[Any], Any]] = {
            CREATE: self._create,
            GET: self._get,
            LIST: self._list,
            CANCEL: self._cancel,
            DELETE: self._delete,
        }

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
        if fault.empty:
            return ListCustomJobsResponse.pb()()
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
        vcpus = count_job_vcpus(job)
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
            record = Record(job, visible_at=self._clock() + self.config.list_lag_s)
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
            # What becomes of one that runs is not documented: its processes end here.
            if record.run is not None:
                record.run.inbox.put("stop")
            del self._records[record.job.name]
        operation = operations_pb2.Operation(name=f"{record.job.name}/operations/{random.randrange(10**18)}", done=True)
        operation.response.Pack(empty_pb2.Empty())
        operation.metadata.Pack(DeleteOperationMetadata.pb()())
        return operation

    def clear(self) -> None:
        """No jobs, no faults, no counts: every process is ended, at once."""
        self.faults.forget()
        super().clear()
        self._rates = Rates(self.config, self._clock)

    def _check_parent(self, parent: str) -> str:
        match = _LOCATION.match(parent)
        if match is None:
            raise invalid([("parent", f"must be projects/<project>/locations/<location>; got {parent!r}.")])
        self._check_project(match[1])
        return match[2]


def _state_name(state: int) -> str:
    return next((member.name for member in JobState if member == state), str(state))
