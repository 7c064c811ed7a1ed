"""Cancel a run: asks its job to end, and publishes what it left, marked as cancelled.

These may cancel a job: a person, through this flow; `train`, when its flow run is cancelled or its terminal interrupts
it (`cancel_waited_job`, flows/__main__.py); `sweep`, when it prunes a trial, or its flow run is cancelled; and
reconcile. Reconcile cancels the younger of two jobs with one key, and a job at work with a cancelled claim
(flows/reconcile.py). Nothing else does: if the waiting for a job ends, the job goes on.
"""

from datetime import UTC, datetime, timedelta

from prefect import flow, get_run_logger

from flows.answers.run import RunResult, to_result
from flows.parameters import CancelParameters
from flows.signatures import takes
from flows.steps.settling import settle
from flows.steps.waiting import wait_for_end
from switchyard.core.errors import JobFailed
from switchyard.core.runs.jobs import JobState, Reason
from switchyard.core.runs.rows import Job, QuickTest, RunStatus
from tasks.announce import announce_end
from tasks.poll import cancel_job
from tasks.runs import end_run, read_job, read_run, record_job_end
from tasks.show import name_flow_run


@flow(name="cancel")
@takes(CancelParameters)
def cancel(wanted: CancelParameters) -> RunResult:
    """Asks the run's job to end and waits a while for it. A second call, or one for an ended job, changes nothing.

    If the job succeeds before the request reaches it, the run is completed.
    """
    name_flow_run(f"cancel quick-test-{wanted.quick_test_id}")
    run, job = read_run(wanted.quick_test_id), read_job(wanted.quick_test_id)
    if run.status.ended and (job is None or job.state.ended):
        get_run_logger().info("quick test %d is %s already: there was nothing to cancel", run.id, run.status)
        return to_result(run)
    ask_to_cancel(run, job)
    job = read_job(run.id)
    if job is None or not job.job_name or run.status.ended:
        return to_result(read_run(run.id))
    if not job.state.ended:
        deadline = datetime.now(UTC) + timedelta(seconds=wanted.wait_s)
        try:
            job = wait_for_end(job, interval_s=0, deadline=deadline)
        except JobFailed:
            # It was asked, and takes its time: the flow that waits for it, or reconcile, publishes its end.
            return to_result(read_run(run.id))
    run = read_run(run.id)  # the job took a while to end: anyone may have ended the run meanwhile
    settled = settle(run, job)
    announce_end(job)
    return to_result(run, settled)


def ask_to_cancel(run: QuickTest, job: Job | None) -> None:
    """Asks the launcher to end the run's job; a run that has no job yet is ended here.

    Calls the tasks' functions plainly, because Prefect runs its cancellation hooks outside of any flow run.
    """
    if job is not None and job.job_name:
        if not job.state.ended:
            cancel_job.fn(job.job_name)
        return
    if job is not None and not job.state.ended:
        # Claimed, and perhaps being submitted this moment: who submits finds the claim ended, and cancels the job.
        record_job_end.fn(job.key, JobState.CANCELLED, Reason.CANCEL_ASKED)
    if not run.status.ended:
        end_run.fn(run.id, RunStatus.CANCELLED, f"{Reason.CANCEL_ASKED}, before a job was created")
