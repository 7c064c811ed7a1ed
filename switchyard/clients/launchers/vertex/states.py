"""Turns what a CustomJob says of itself into a `JobReport`: every state is mapped, every failure has its reason."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from google.cloud.aiplatform_v1.types import CustomJob
from google.rpc import code_pb2

from switchyard.clients.launchers.vertex.errors import QUOTA_PAGE
from switchyard.core.errors import BadSetup
from switchyard.core.runs.jobs import KEY_LABEL, JobReport, JobState, Reason

TIMEOUT_LABEL = "switchyard-timeout-s"
"""Stands on each job: a short list's answer has the labels, but not the spec."""

# JobState of google/cloud/aiplatform/v1/job_state.proto, by its numbers: a number that this table lacks is an error.
_QUEUED, _PENDING, _RUNNING, _SUCCEEDED, _FAILED, _CANCELLING = 1, 2, 3, 4, 5, 6
_CANCELLED, _PAUSED, _EXPIRED, _UPDATING, _PARTIALLY_SUCCEEDED = 7, 8, 9, 10, 11
_STATES = {
    _QUEUED: JobState.QUEUED,  # "just created or resumed and processing has not yet begun": quota may be lacking
    _PENDING: JobState.QUEUED,  # machines are looked for and the image is pulled: main has not started
    _RUNNING: JobState.RUNNING,
    _SUCCEEDED: JobState.SUCCEEDED,
    _FAILED: JobState.FAILED,
    _CANCELLING: JobState.RUNNING,  # main runs on for a while, and may still succeed
    _CANCELLED: JobState.CANCELLED,
    _PAUSED: JobState.QUEUED,  # "stopped, and can be resumed": it waits, it has not ended
    _EXPIRED: JobState.FAILED,  # nothing changes it again, though the SDK's own wait() would wait for ever
    _UPDATING: JobState.RUNNING,  # "after updating, the job goes back to the RUNNING state"
    # "Some results may be missing": a run shown as completed must not lack a part of what it left.
    _PARTIALLY_SUCCEEDED: JobState.FAILED,
}
# How long a job may be QUEUED before its likely reason is the project's quota. The wait "is usually brief":
# https://cloud.google.com/vertex-ai/docs/training/understanding-training-service
_QUEUE_PATIENCE = timedelta(minutes=10)

_OUT_OF_MEMORY = re.compile(r"ran out[ -]of[ -]memory", re.IGNORECASE)
_EXIT_STATUS = re.compile(r"non-zero status of (\d+)")
_SIGKILLED = 137


def to_report(job: Any, *, project_id: str, now: datetime) -> JobReport:
    """Returns the report of `job` (a CustomJob) as it is now.

    Raises:
        BadSetup: this version does not know its state.
    """
    state = read_state(job)
    number = _read_number(job)
    reason = _choose_reason(job, number, now)
    if reason is Reason.TIMED_OUT:
        state = JobState.FAILED  # no one cancelled it, though Vertex AI may call it so
    return JobReport(
        job_name=job.name,
        key=job.labels.get(KEY_LABEL, ""),
        state=state,
        reason=reason,
        message=_to_message(job, number, reason, project_id),
        log_uri=to_log_uri(job.name, project_id, job.create_time),
        page_uri=to_page_uri(job.name, project_id),
        created_at=_to_time(job.create_time),
        started_at=_to_time(job.start_time) if job.start_time else None,
        ended_at=_read_end(job, state),
    )


def read_state(job: Any) -> JobState:
    """Returns the job's state in our words. Raises: BadSetup: this version does not know it."""
    number = _read_number(job)
    state = _STATES.get(number)
    if state is None:
        raise BadSetup(
            f"{job.name} is in state {number}, which this version does not know; known: {sorted(_STATES)} (JobState). "
            "Nothing is decided about this job: install a newer version of Switchyard, or look at the job in the "
            "console"
        )
    return state


def _read_number(job: Any) -> int:
    """Returns the state as it came: the client's own enum warns of numbers that it does not know."""
    return int(CustomJob.pb(job).state)


def to_log_uri(job_name: str, project_id: str, since: datetime) -> str:
    """Returns the Logs Explorer's page of all that the job wrote. The query sets its time: else it shows an hour.

    Source: https://cloud.google.com/logging/docs/view/logs-explorer-interface (links), and the query that
    ``gcloud ai custom-jobs stream-logs`` makes.
    """
    job_id = job_name.rpartition("/")[2]
    query = f'resource.type="ml_job"\nresource.labels.job_id="{job_id}"\ntimestamp>="{since:%Y-%m-%dT%H:%M:%SZ}"'
    return f"https://console.cloud.google.com/logs/query;query={quote(query, safe='')}?project={project_id}"


def to_page_uri(job_name: str, project_id: str) -> str:
    """Returns the job's page in the console.

    Source: the link that the SDK shows (google.cloud.aiplatform.jobs, `_dashboard_uri`).
    """
    *_, region, _, job_id = job_name.split("/")
    return f"https://console.cloud.google.com/agent-platform/locations/{region}/training/{job_id}?project={project_id}"


def _choose_reason(job: Any, number: int, now: datetime) -> Reason:
    if number == _QUEUED:
        return Reason.QUOTA if now - job.create_time > _QUEUE_PATIENCE else Reason.NONE
    if number == _CANCELLING:
        return Reason.CANCEL_ASKED
    if number in (_FAILED, _CANCELLED) and _is_timed_out(job):
        return Reason.TIMED_OUT
    if number == _CANCELLED:
        return Reason.CANCEL_ASKED
    if number == _EXPIRED:
        return Reason.TIMED_OUT if job.start_time else Reason.NEVER_STARTED
    if number == _FAILED:
        return _choose_failure(job)
    return Reason.NONE


def _choose_failure(job: Any) -> Reason:
    """Chooses by the error's words: its codes tell little apart (3 for any exit of the training, 8 for all scarcity).

    Source: the table of errors in https://cloud.google.com/vertex-ai/docs/training/understanding-training-service
    """
    said = job.error.message
    lowered = said.lower()
    if "preempt" in lowered:
        return Reason.PREEMPTED
    if "resources are insufficient" in lowered or "stockout" in lowered:
        return Reason.CAPACITY
    if _OUT_OF_MEMORY.search(said):
        return Reason.KILLED
    status = _EXIT_STATUS.search(said)
    if status:
        return Reason.KILLED if int(status[1]) == _SIGKILLED else Reason.EXITED
    if "quota" in lowered:
        return Reason.QUOTA
    if "internal error" in lowered or job.error.code == code_pb2.INTERNAL:
        return Reason.MACHINE_LOST
    return Reason.NONE if job.start_time else Reason.NEVER_STARTED


def _is_timed_out(job: Any) -> bool:
    """Says so by its code, its words, or its duration: Vertex AI does not document how a timeout ends a job."""
    if job.error.code == code_pb2.DEADLINE_EXCEEDED or "timed out" in job.error.message.lower():
        return True
    timeout_s = job.labels.get(TIMEOUT_LABEL, "")
    if not (timeout_s.isdecimal() and job.start_time and job.end_time):
        return False
    return bool(job.end_time - job.start_time >= timedelta(seconds=int(timeout_s)))


def _to_message(job: Any, number: int, reason: Reason, project_id: str) -> str:
    """Returns Vertex AI's own words, and what to do about them."""
    said = " ".join(job.error.message.split())
    if number == _FAILED and not said:
        # "About one minute after a job ends" the error is set: same source.
        said = "Vertex AI has given no error yet"
    if number == _PARTIALLY_SUCCEEDED:
        said = f"Vertex AI calls it partially succeeded: some results may be missing. {said}"
    if number == _EXPIRED:
        said = f"Vertex AI calls it expired. {said}"
    if number == _PAUSED:
        said = f"Vertex AI has paused it. {said}"
    return " ".join(filter(None, (said.strip(), _to_advice(reason, project_id))))


def _to_advice(reason: Reason, project_id: str) -> str:
    if reason is Reason.QUOTA:
        return f"Wait, choose a smaller machine, or ask for quota: {QUOTA_PAGE}?project={project_id}"
    return {
        Reason.CAPACITY: "Train again in another region (GCP_REGION), with another machine or accelerator, or with "
        "scheduling=flex_start, which waits for a machine",
        Reason.MACHINE_LOST: "Train again, or with attempts=3, which does so by itself",
        Reason.PREEMPTED: "Train again, or with scheduling=standard, where machines are not taken away",
        Reason.KILLED: "Killed by SIGKILL; if memory ran out: a machine_type with more of it, or a smaller batch_size",
        Reason.TIMED_OUT: "Train again with a longer timeout_s",
    }.get(reason, "")


def _read_end(job: Any, state: JobState) -> datetime | None:
    """Reads end_time, which only SUCCEEDED, FAILED and CANCELLED set (CustomJob.end_time)."""
    if not state.ended:
        return None
    return _to_time(job.end_time or job.update_time)


def _to_time(moment: datetime) -> datetime:
    """Returns a plain datetime: the client's is a subclass that counts nanoseconds."""
    return datetime.combine(moment.date(), moment.time(), tzinfo=UTC)
