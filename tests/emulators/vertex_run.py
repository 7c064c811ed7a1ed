"""The life of one CustomJob that runs as processes: queue, machines, restarts, cancellation, its end.

Source, unless a rule names another: "Understand the serverless training service"
(https://cloud.google.com/vertex-ai/docs/training/understanding-training-service), called *the service page* below.
"""

import logging
import queue
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from google.cloud.aiplatform_v1.types import JobState
from google.rpc import code_pb2

from tests.emulators.vertex_container import Exited, Replica, build_replicas

if TYPE_CHECKING:
    from tests.emulators.vertex_table import JobTable

_LOG = logging.getLogger(__name__)

Act = Literal["cancel", "stop", "preempt", "restart", "kill", "run_out_of_memory", "timeout"]

# The service page: exit codes that may be transient make Vertex AI restart the job, up to three times: SIGABRT as 6
# or 134, SIGSEGV as 11 or 139.
_TRANSIENT_EXITS = {6, 134, 11, 139}
# The service page: "Resources are insufficient" is tried up to three times more, an internal error twice more, and
# a job whose worker failed after its five restarts three times more.
_JOB_RESTARTS = 3
_WORKER_RESTARTS = 5
_OUT_OF_MEMORY = 137  # SIGKILL that the platform did not send: the kernel's OOM killer


class JobEnded(Exception):
    """The job reached a terminal state; its place is free again."""

    def __init__(self, state: int, code: int = 0, message: str = "", *, may_retry: bool = False) -> None:
        self.state = state
        self.code = code
        self.message = message
        self.may_retry = may_retry
        super().__init__(message)


class JobRun:
    """Runs one job from QUEUED to its end; every event reaches it through `inbox`."""

    def __init__(self, table: "JobTable", name: str) -> None:
        self.inbox: queue.Queue[Act | Exited] = queue.Queue()
        self.replicas: list[Replica] = []
        self._table = table
        self._job_name = name
        self._job: Any = table.read(name)
        self._started_at: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"vertex-job-{name}", daemon=True)

    def start(self) -> None:
        """Starts the job's own thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Waits until the job has ended."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        """A fault of the emulator itself ends the job as Vertex AI's internal error, and is logged."""
        try:
            ended = self._run_attempts()
        except Exception as err:  # noqa: BLE001 - a thread has no caller; the job must end, with the reason on it
            _LOG.exception("emulator failed on %s", self._job_name)
            ended = JobEnded(JobState.JOB_STATE_FAILED, code_pb2.INTERNAL, f"Internal error: {err!r}")
        finally:
            for replica in self.replicas:
                replica.send(signal.SIGKILL)
        self._table.end(self._job_name, ended.state, ended.code, ended.message)

    def _run_attempts(self) -> JobEnded:
        restarts_left = 0 if self._scheduling.disable_retries else _JOB_RESTARTS
        while True:
            try:
                self._wait_for_quota()
                self._prepare()
                self._train()
            except JobEnded as ended:
                if not ended.may_retry or restarts_left == 0:
                    return ended
                restarts_left -= 1

    @property
    def _scheduling(self) -> Any:
        return self._job.job_spec.scheduling

    def _wait_for_quota(self) -> None:
        """The service page: without remaining quota the job stays QUEUED until there is some."""
        while not self._table.take_quota(self._job_name):
            self._wait_while_idle(self._table.config.queue_poll_s)

    def _prepare(self) -> None:
        """PENDING: machines are sought and the image is pulled."""
        self._table.move(self._job_name, JobState.JOB_STATE_PENDING)
        self._wait_while_idle(self._table.config.pending_s)
        if self._table.take_stockout():
            # The service page's words; the status code is not documented.
            region = self._job_name.split("/")[3]
            message = (
                f"Resources are insufficient in region: {region}. "
                "Try a different region or use a different accelerator."
            )
            raise JobEnded(JobState.JOB_STATE_FAILED, code_pb2.RESOURCE_EXHAUSTED, message, may_retry=True)

    def _wait_while_idle(self, seconds: float) -> None:
        try:
            act = self.inbox.get(timeout=seconds)
        except queue.Empty:
            return
        if act in ("cancel", "stop"):
            raise self._cancelled()

    def _cancelled(self) -> JobEnded:
        # CustomJob.error is populated when the job is CANCELLED; which code and words is not documented.
        return JobEnded(JobState.JOB_STATE_CANCELLED, code_pb2.CANCELLED, "CustomJob was cancelled.")

    def _train(self) -> None:
        """RUNNING, until JobEnded is raised."""
        config = self._table.config
        self.replicas = build_replicas(
            self._job, config.images, config.passed_on, self._table.folder_of(self._job_name), self.inbox
        )
        for replica in self.replicas:
            replica.start()
        self._table.move(self._job_name, JobState.JOB_STATE_RUNNING)
        # "The maximum job running time" (Scheduling.timeout): not started again by a restart.
        self._started_at = self._started_at or time.monotonic()
        deadline = self._started_at + (self._scheduling.timeout.seconds or 7 * 24 * 3600)
        while True:
            try:
                event = self.inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                event = "timeout"
            if isinstance(event, Exited):
                self._on_exit(event)
            else:
                self._on_act(event)

    def _on_act(self, act: Act) -> None:
        if act in ("cancel", "stop"):
            self._end_containers(0.0 if act == "stop" else self._table.config.grace_s)
            # From CANCELLING a job may still go to SUCCEEDED (JobState), as "a training job completes successfully
            # when its primary replica exits with exit code 0" (the service page).
            raise JobEnded(JobState.JOB_STATE_SUCCEEDED) if self._wait_for_primary() == 0 else self._cancelled()
        if act == "timeout":
            self._end_containers(self._table.config.grace_s)
            # Neither the state nor the words of a timeout are documented; the legacy service cancelled the job
            # (https://cloud.google.com/ai-platform/training/docs/reference/rest/v1/projects.jobs#Scheduling).
            raise JobEnded(
                self._table.config.timeout_state, code_pb2.DEADLINE_EXCEEDED, "CustomJob exceeded its timeout."
            )
        if act == "run_out_of_memory":
            self.replicas[0].send(signal.SIGKILL)  # seen as 137 that the platform did not send
        elif act == "kill":
            self._interrupt(self.replicas[0], grace_s=0.0)
        elif act == "restart":
            # VM maintenance: the worker goes on on another VM, with the same host name (the service page).
            self._interrupt(self.replicas[0], grace_s=self._table.config.grace_s)
        elif act == "preempt":
            self._preempt()

    def _interrupt(self, replica: Replica, grace_s: float) -> None:
        replica.interrupted = True
        self._stop([replica], grace_s)

    def _preempt(self) -> None:
        """Compute Engine takes the machine away: about 30 s of notice, then it is gone.

        Source: https://cloud.google.com/compute/docs/instances/spot (notice); that Vertex AI then seeks another
        machine for the job is its non-permanent worker error (the service page); without one: STOCKOUT.
        """
        self._end_containers(self._table.config.grace_s)
        message = "The replica workerpool0-0 was preempted. STOCKOUT: no spot resources are available."
        raise JobEnded(JobState.JOB_STATE_FAILED, code_pb2.RESOURCE_EXHAUSTED, message, may_retry=True)

    def _on_exit(self, event: Exited) -> None:
        replica = event.replica
        if replica not in self.replicas or not replica.is_current(event):
            return  # the end of a launch that has been replaced
        if event.code == 0 and not replica.interrupted:
            if replica is self.replicas[0]:
                # The service page: done when the primary replica exits with 0; the others are then shut down.
                self._end_containers(self._table.config.grace_s)
                raise JobEnded(JobState.JOB_STATE_SUCCEEDED)
            return
        if replica.interrupted:
            self._restart_worker(replica, event.code)
            return
        if event.code == _OUT_OF_MEMORY:
            message = f"The replica {replica.name} ran out of memory and exited with a non-zero status of 137."
            raise JobEnded(JobState.JOB_STATE_FAILED, code_pb2.RESOURCE_EXHAUSTED, self._with_link(message))
        raise JobEnded(
            JobState.JOB_STATE_FAILED,
            code_pb2.INVALID_ARGUMENT,  # code 3 in the job errors that people quote
            self._exit_message(replica, event.code),
            may_retry=event.code in _TRANSIENT_EXITS,
        )

    def _restart_worker(self, replica: Replica, code: int) -> None:
        """The service page: a worker that failed by no error of its own is restarted up to five times, then the job."""
        if self._scheduling.disable_retries:
            raise JobEnded(JobState.JOB_STATE_FAILED, code_pb2.INTERNAL, self._exit_message(replica, code))
        if replica.restarts == _WORKER_RESTARTS:
            raise JobEnded(
                JobState.JOB_STATE_FAILED, code_pb2.INTERNAL, self._exit_message(replica, code), may_retry=True
            )
        replica.restarts += 1
        if self._scheduling.restart_job_on_worker_restart:
            self._stop([other for other in self.replicas if other is not replica], self._table.config.grace_s)
            for other in self.replicas:
                other.start()
        else:
            replica.start()

    def _exit_message(self, replica: Replica, code: int) -> str:
        """The words of the service page, the log's end and the link, as in the job errors that people quote."""
        message = f"The replica {replica.name} exited with a non-zero status of {code}. Termination reason: Error."
        return self._with_link(f"{message} \n{replica.tail()}\n".replace("\n\n", "\n"))

    def _with_link(self, message: str) -> str:
        job_id = self._job_name.rpartition("/")[2]
        query = quote(f'resource.type="ml_job"\nresource.labels.job_id="{job_id}"', safe="")
        return (
            f"{message} To find out more about why your job exited please check the logs: "
            f"https://console.cloud.google.com/logs/viewer?project={self._table.config.project_number}"
            f"&resource=ml_job%2Fjob_id%2F{job_id}&advancedFilter={query}"
        )

    def _wait_for_primary(self) -> int:
        """The primary's exit code; it has been told to end."""
        while True:
            event = self.inbox.get(timeout=10)
            if isinstance(event, Exited) and event.replica is self.replicas[0] and event.replica.is_current(event):
                return event.code

    def _end_containers(self, grace_s: float) -> None:
        self._stop(self.replicas, grace_s)

    def _stop(self, replicas: list[Replica], grace_s: float) -> None:
        """SIGTERM, then SIGKILL after the grace. What arrives meanwhile is kept for later.

        Source: Kubernetes' termination of a pod, on which Vertex AI's workers run (the service page names GKE), with
        its default of 30 s: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
        """
        for replica in replicas:
            replica.send(signal.SIGTERM if grace_s else signal.SIGKILL)
        deadline = time.monotonic() + grace_s
        kept: list[Act | Exited] = []
        killed = not grace_s
        while any(replica.pid is not None for replica in replicas):
            if not killed and time.monotonic() >= deadline:
                killed = True
                for replica in replicas:
                    replica.send(signal.SIGKILL)
            try:
                kept.append(self.inbox.get(timeout=10.0 if killed else max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                continue
        for event in kept:
            self.inbox.put(event)
