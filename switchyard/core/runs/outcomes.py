"""What becomes of a run, from what its job and its metrics file say: one table, as data. docs/walk.md shows it."""

import msgspec

from switchyard.core.metrics.record import FileStatus
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import RunStatus


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now. `error` is for the row (empty: nothing went wrong), `reason` for a person who asks why."""

    row_status: RunStatus | None  # None: the row keeps its status
    publish: bool  # what the file holds becomes readable
    error: str
    reason: str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table, which holds for each combination of its states and statuses.

    They are job states, file statuses (None: there is no job, no file) and row statuses. No two rules hold at once, and
    one always does.
    """

    jobs: tuple[JobState | None, ...]
    files: tuple[FileStatus | None, ...]
    rows: tuple[RunStatus, ...] = tuple(RunStatus)
    outcome: Outcome


_OPEN = (JobState.CLAIMED, JobState.QUEUED, JobState.RUNNING)
_ANY_FILE: tuple[FileStatus, ...] = ("completed", "partial", "failed")
_NOT_COMPLETED = tuple(status for status in RunStatus if status is not RunStatus.COMPLETED)


def _keep(*, publish: bool, reason: str) -> Outcome:
    return Outcome(row_status=None, publish=publish, error="", reason=reason)


def _end(status: RunStatus, *, publish: bool, reason: str) -> Outcome:
    error = "" if status is RunStatus.COMPLETED else reason
    return Outcome(row_status=status, publish=publish, error=error, reason=reason)


def _after(state: JobState, status: RunStatus, verb: str) -> tuple[Rule, Rule]:
    """Returns the rules for a job that ended without success: the job's word counts, whatever its file says."""
    with_file = f"the training job {verb}; what it had written is published"
    without = f"the training job {verb} before it wrote any metrics"
    return (
        Rule(jobs=(state,), files=_ANY_FILE, outcome=_end(status, publish=True, reason=with_file)),
        Rule(jobs=(state,), files=(None,), outcome=_end(status, publish=False, reason=without)),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        jobs=(JobState.SUCCEEDED,),
        files=("completed",),
        outcome=_end(RunStatus.COMPLETED, publish=True, reason="the training job succeeded and its file is complete"),
    ),
    Rule(
        jobs=(JobState.SUCCEEDED,),
        files=("partial",),
        outcome=_end(
            RunStatus.FAILED,
            publish=True,
            reason="the training job succeeded, but its metrics file is only partial; what it holds is published",
        ),
    ),
    Rule(
        jobs=(JobState.SUCCEEDED,),
        files=("failed",),
        outcome=_end(
            RunStatus.FAILED,
            publish=True,
            reason="the training job succeeded, but its metrics file says failed; what it holds is published",
        ),
    ),
    Rule(
        jobs=(JobState.SUCCEEDED,),
        files=(None,),
        outcome=_end(RunStatus.FAILED, publish=False, reason="the training job succeeded, but it left no metrics file"),
    ),
    *_after(JobState.FAILED, RunStatus.FAILED, "failed"),
    *_after(JobState.CANCELLED, RunStatus.CANCELLED, "was cancelled"),
    Rule(
        jobs=_OPEN,
        files=_ANY_FILE,
        outcome=_keep(publish=True, reason="the training job has not ended; what it has written so far is published"),
    ),
    Rule(
        jobs=_OPEN,
        files=(None,),
        outcome=_keep(publish=False, reason="the training job has not ended, and has written no metrics yet"),
    ),
    # No job of ours: the row is another application's, or someone brought the file by hand.
    Rule(
        jobs=(None,),
        files=("completed",),
        outcome=_end(RunStatus.COMPLETED, publish=True, reason="no job is known, and the metrics file is complete"),
    ),
    Rule(
        jobs=(None,),
        files=("failed",),
        rows=_NOT_COMPLETED,
        outcome=_end(
            RunStatus.FAILED,
            publish=True,
            reason="no job is known, and the metrics file says failed; what it holds is published",
        ),
    ),
    Rule(
        jobs=(None,),
        files=("failed",),
        rows=(RunStatus.COMPLETED,),
        outcome=_keep(publish=True, reason="no job is known; a completed run stays so, whatever its file says"),
    ),
    Rule(
        jobs=(None,),
        files=("partial",),
        outcome=_keep(publish=True, reason="no job is known, and the metrics file is partial: the run may go on"),
    ),
    Rule(
        jobs=(None,),
        files=(None,),
        outcome=_keep(publish=False, reason="no job is known, and there is no metrics file"),
    ),
)


def choose_outcome(job_state: JobState | None, file_status: FileStatus | None, row_status: RunStatus) -> Outcome:
    """Returns what becomes of a run, by the states of its newest job, its metrics file and its row.

    None as `job_state`: it has no job that we know. None as `file_status`: there is no file.
    """
    return next(
        rule.outcome
        for rule in RULES
        if job_state in rule.jobs and file_status in rule.files and row_status in rule.rows
    )


def to_markdown() -> str:
    """Returns the table as docs/walk.md shows it."""
    lines = ["| job | metrics file | row was | row becomes | published | because |", "|---|---|---|---|---|---|"]
    for rule in RULES:
        jobs = ", ".join(state or "none known" for state in rule.jobs)
        files = ", ".join(status or "missing" for status in rule.files)
        rows = "any" if rule.rows == tuple(RunStatus) else ", ".join(rule.rows)
        becomes = rule.outcome.row_status or "as it was"
        published = "yes" if rule.outcome.publish else "no"
        lines.append(f"| {jobs} | {files} | {rows} | {becomes} | {published} | {rule.outcome.reason} |")
    return "\n".join(lines) + "\n"
