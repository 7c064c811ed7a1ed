"""Ingest one run: reads what its job left, checks it, and publishes it."""

from datetime import UTC, datetime, timedelta

from prefect import flow

from flows.answers.run import RunFailed, RunResult, to_result
from flows.parameters import IngestParameters
from flows.signatures import takes
from flows.steps.settling import settle
from flows.steps.waiting import record_end
from switchyard.core.errors import catch
from switchyard.core.history.asked_sampling import to_sampling
from switchyard.core.history.best import parse_directions
from switchyard.core.metrics.record import Sampling
from switchyard.core.runs.missing import Missing, add_look, to_missing_line
from switchyard.core.runs.rows import Job, QuickTest, RunStatus
from switchyard.core.runs.walk import Action, Graces, next_action
from tasks.poll import find_job
from tasks.runs import find_missing_line, read_job, read_run, record_job, write_ledger
from tasks.show import name_flow_run, show_history


@flow(name="ingest")
@takes(IngestParameters)
def ingest(wanted: IngestParameters) -> RunResult:
    """Publishes the newest file of the run, whether its job is at work or has ended, and ends the row as the job did.

    It may run twice, and two may run at once. If a file is refused (it is unreadable, or another run's, or missing
    though the job succeeded), the row says so and this flow fails; what was published before stays.
    """
    name_flow_run(f"ingest quick-test-{wanted.quick_test_id}")
    run, job = read_run(wanted.quick_test_id), read_job(wanted.quick_test_id)
    if job is not None and not job.state.ended:
        job = look_at_job(job)
    sampling = _to_wanted_sampling(run, job, wanted)
    settled = settle(run, job, force=wanted.force, sampling=sampling, rules=wanted.rules)
    if settled.history:
        show_history(run.id, settled.history)
    result = to_result(run, settled)
    if settled.refused:
        raise RunFailed(result)
    return result


def look_at_job(job: Job) -> Job:
    """Asks the launcher for news of an open job, and returns the job's row.

    A claim without a job stays as it is: only reconcile, which lists all jobs, can tell that a job was never made.
    """
    if not job.job_name:
        return job
    report, now = find_job(job), datetime.now(UTC)
    found = report or add_look(find_missing_line(job.quick_test_id), job, now=now)
    step = next_action(RunStatus.RUNNING, job, found, published=False, now=now, graces=Graces(claim=timedelta.max))
    if step.action is Action.INGEST:
        return record_end(job, report, step)
    if step.action is Action.LOOK_AGAIN and isinstance(found, Missing):
        write_ledger(to_missing_line(job.quick_test_id, found))
    if step.action is Action.RECORD and report is not None:
        return record_job(job.key, report)
    return job


def _to_wanted_sampling(run: QuickTest, job: Job | None, wanted: IngestParameters) -> Sampling:
    asked = catch(lambda: to_sampling(run, job))
    if isinstance(asked, Exception):
        # Parameters that do not say how do not stop a caller who says it here.
        if not wanted.interval:
            raise asked
        asked = Sampling()
    return Sampling(
        interval=wanted.interval or asked.interval,
        keep_extremes=wanted.keep_extremes or asked.keep_extremes,
        max_points=wanted.max_points or asked.max_points,
        directions=asked.directions | parse_directions(wanted.directions),
    )
