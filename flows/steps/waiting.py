"""Waits for a job's end: looks, records, shows progress, publishes snapshots, and knows when to stop."""

from datetime import UTC, datetime
from typing import assert_never

from prefect import get_run_logger

from flows.progress.bars import Bar
from switchyard.core.errors import JobFailed
from switchyard.core.runs.jobs import JobReport, Progress
from switchyard.core.runs.live import LiveState
from switchyard.core.runs.missing import Missing, to_gone_line
from switchyard.core.runs.pacing import Look
from switchyard.core.runs.rows import Job, RunStatus
from switchyard.core.runs.walk import Action, Graces, Step, next_action
from tasks.poll import watch_job
from tasks.runs import record_job, record_job_end, write_ledger
from tasks.show import TrainingProgress


def wait_for_end(job: Job, *, interval_s: float, deadline: datetime) -> Job:
    """Returns the job's row after its end was recorded; the job has a name already.

    `interval_s` 0: looks as often as the launcher's default says.

    Raises:
        JobFailed: the deadline has passed; the job is left to run, and reconcile publishes its end.
        TryAgain: its launcher has not answered for minutes; the same holds.
    """
    started = datetime.now(UTC)
    seen: JobReport | None = None
    live = LiveState()
    artifact = TrainingProgress(job.quick_test_id)
    while True:
        now = datetime.now(UTC)
        waited_s = (now - started).total_seconds()
        look = Look(
            interval_s=interval_s,
            waited_s=waited_s,
            # News of progress takes a task run: rarely enough that a day's training makes hundreds, not thousands.
            hold_s=max(1.0, waited_s / 20),
            for_s=max(0.0, (deadline - now).total_seconds()),
        )
        watched = watch_job(job, seen, look, live)
        found, live = watched.job, watched.live
        # The row's own status decides nothing here: if it is ended while the job runs, reconcile cancels the job.
        step = next_action(
            RunStatus.RUNNING,
            job,
            found,
            published=False,
            now=datetime.now(UTC),
            graces=Graces(),
            deadline=deadline,
        )
        report = None if isinstance(found, Missing) else found
        if report is not None and report.progress is not None and (seen is None or report.progress != seen.progress):
            _say_progress(report.progress, artifact)
        seen = report
        match step.action:
            case Action.INGEST:
                return record_end(job, report, step)
            case Action.RECORD:
                assert report is not None
                job = record_job(job.key, report)
            case Action.GIVE_UP:
                raise JobFailed(
                    f"the job of quick test {job.quick_test_id} is still {job.state}, and should have ended by "
                    f"{deadline:%Y-%m-%d %H:%M:%S} UTC (timeout_s and queue_timeout_s after its claim): "
                    f"{job.job_name}. It goes on, and reconcile publishes its end. To end it now: "
                    f"switchyard cancel {job.quick_test_id}"
                )
            case Action.WAIT | Action.LOOK_AGAIN | Action.NOTHING | Action.CANCEL:
                continue
            case Action.ANNOUNCE | Action.ANNOUNCE_COMPLETED:
                continue
            case _:
                assert_never(step.action)


def record_end(job: Job, report: JobReport | None, step: Step) -> Job:
    """Writes the job's end on its row, and returns the row.

    The end is what the launcher reports, or what `step` concludes. In the second case reconcile looks for the job now
    and then, because it may not be gone.
    """
    if step.state is None:
        return job
    if report is not None:
        return record_job(job.key, report)
    # Before the end itself: killed between the two, the job is looked for a little longer. In the other order, no one
    # would look for it again.
    write_ledger(to_gone_line(job.quick_test_id, now=datetime.now(UTC)))
    return record_job_end(job.key, step.state, step.reason)


def _say_progress(progress: Progress, artifact: TrainingProgress) -> None:
    loss = "" if progress.loss is None else f"loss {progress.loss:.4f}"
    bar = Bar(label="training", unit="epochs", done=progress.epochs_done, total=progress.epochs_asked, detail=loss)
    get_run_logger().info("%s", bar, extra=bar.extra)
    artifact.show(progress)
