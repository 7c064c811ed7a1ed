"""Reconcile: compare all jobs with all rows, and repair the difference. Safe to run at any time.

It is what holds when everything else was killed; events and waiting flows only make it sooner. What it decides is in
switchyard/core/runs/walk.py; what it costs is one list of jobs and one query, and then only what there is to repair.
"""

import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from prefect import flow, get_run_logger

from flows.parameters import ReconcileParameters
from flows.signatures import takes
from flows.steps.settling import settle
from flows.steps.waiting import record_end
from switchyard.core.errors import NotFound, SwitchyardError, TryAgain
from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import Job, Unsettled
from switchyard.core.runs.walk import Action, Graces, Step, choose_job, next_action, to_next_try
from tasks.announce import announce_end
from tasks.poll import cancel_job, list_jobs, read_job_report
from tasks.runs import list_unsettled, read_run, record_job, write_ledger
from tasks.show import name_flow_run

LOOKBACK = timedelta(days=1)
"""Jobs of claims that were given up are looked for so far back, where no open job reaches further."""

_SHOWN = 20
"""Errors in the message; the ledger has all."""


LOOKS_A_TURN = 10
"""Jobs that the list lacks are asked for by name, one request each: so many a turn. With the ten pages of a list of a
thousand jobs, and the five looks that messages may cause (serving/push.py), it is 25 a minute."""


class ReconcileResult(msgspec.Struct, kw_only=True):
    """What one turn did, as quick test ids."""

    looked_at: int = 0
    unasked: int = 0  # jobs that the list lacks, to be asked for in later turns
    left: int = 0  # rows without a job, for the next turns
    settled: list[int] = []  # published, or ended with a reason
    recorded: list[int] = []  # adopted, or moved on
    announced: list[int] = []  # left to the ingest of their job-ended event
    cancelled: list[str] = []  # names of jobs that must not go on
    failed: dict[int, str] = {}  # the error that is in the ledger too


class RepairsFailed(SwitchyardError):
    """Some runs could not be repaired; `result` says which, and what was done for the others."""

    def __init__(self, result: ReconcileResult) -> None:
        self.result = result
        lines = [f"quick test {id_}: {error}" for id_, error in list(result.failed.items())[:_SHOWN]]
        more = len(result.failed) - len(lines)
        said = "; ".join(lines) + (f"; and {more} more, see the ledger" if more else "")
        super().__init__(f"{len(result.failed)} of {result.looked_at} runs could not be repaired: {said}")


@flow(name="reconcile")
@takes(ReconcileParameters)
def reconcile(wanted: ReconcileParameters) -> ReconcileResult:
    """Repairs every run whose row and job disagree; one that cannot be repaired is tried again later, ever more seldom.

    Fails after all others were repaired, naming those that were not.
    """
    name_flow_run("reconcile")
    graces = Graces(claim=timedelta(seconds=wanted.claim_grace_s), event=timedelta(seconds=wanted.grace_s))
    unsettled = list_unsettled(wanted.limit)
    ours = [run for run in unsettled if run.job]
    others = [run for run in unsettled if not run.job]
    jobs = _group(list_jobs(_to_since(unsettled, datetime.now(UTC))))
    unasked = _choose_unasked(ours, jobs)
    result = ReconcileResult(looked_at=len(ours), unasked=len(unasked))
    for run in ours:
        if run.quick_test.id in unasked:
            continue
        try:
            _repair(run, jobs.pop(run.job.key, []) if run.job else [], graces, result)
        except SwitchyardError as err:
            _back_off(run, err, result)
    _cancel_strays(jobs, result)
    _publish_others(others, wanted.without_job, graces, result)
    get_run_logger().info("%s", msgspec.json.encode(result).decode())
    if result.failed:
        raise RepairsFailed(result)
    return result


def _to_since(unsettled: list[Unsettled], now: datetime) -> datetime:
    """The oldest open job's claim, or a day ago, whichever is earlier; a minute more, for clocks differ."""
    claims = [run.job.claimed_at for run in unsettled if run.job and not run.job.state.ended]
    return min([*claims, now - LOOKBACK]) - timedelta(minutes=1)


def _group(reports: list[JobReport]) -> dict[str, list[JobReport]]:
    by_key: dict[str, list[JobReport]] = defaultdict(list)
    for report in reports:
        by_key[report.key].append(report)
    return by_key


def _choose_unasked(runs: list[Unsettled], jobs: Mapping[str, object]) -> set[int]:
    """The runs whose jobs the list lacks and that wait for a later turn. By chance: those first in order may be of a
    region that no list covers now, at work for days, and would hide all others."""
    missing = [
        run.quick_test.id
        for run in runs
        if run.job and run.job.job_name and not run.job.state.ended and run.job.key not in jobs
    ]
    return set(random.sample(missing, max(0, len(missing) - LOOKS_A_TURN)))


def _repair(run: Unsettled, reports: list[JobReport], graces: Graces, result: ReconcileResult) -> None:
    """Does the next thing for one run, and what follows from it at once."""
    job = run.job
    report = _choose_report(job, reports, result) if job is not None and not job.state.ended else None
    if report is not None and report.problem:
        raise TryAgain(report.problem)
    step = next_action(
        run.quick_test.status,
        job,
        report,
        published=run.published_status is not None,
        now=datetime.now(UTC),
        graces=graces,
    )
    id_ = run.quick_test.id
    match step.action:
        case Action.RECORD if job is not None and report is not None:
            record_job(job.key, report)
            result.recorded.append(id_)
        case Action.CANCEL if report is not None:
            cancel_job(report.job_name)
            result.cancelled.append(report.job_name)
        case Action.ANNOUNCE if job is not None:
            if announce_end(record_end(job, report, step)):
                result.announced.append(id_)
        case Action.INGEST:
            _settle(run, report, step, result)
        case _:
            return
    if run.repair_attempts:
        _write_ledger(run, state="done", attempts=0)


def _publish_others(runs: list[Unsettled], limit: int, graces: Graces, result: ReconcileResult) -> None:
    """At most `limit` of the rows that another application completed. Where MLflow, or what else they are read from, is
    away, the first one has outlasted the waiting for all of them."""
    done = 0
    for run in runs[:limit]:
        done += 1
        try:
            _repair(run, [], graces, result)
        except TryAgain as err:
            _back_off(run, err, result)
            break
        except SwitchyardError as err:
            _back_off(run, err, result)
    result.looked_at += done
    result.left = len(runs) - done


def _choose_report(job: Job, reports: list[JobReport], result: ReconcileResult) -> JobReport | None:
    if not reports:
        # A list may lag behind; a job that has a name is asked for by it before it is called gone.
        return read_job_report(job.job_name) if job.job_name else None
    kept, doubles = choose_job(reports)
    for double in doubles:
        cancel_job(double.job_name)
        result.cancelled.append(double.job_name)
    return kept


def _settle(run: Unsettled, report: JobReport | None, step: Step, result: ReconcileResult) -> None:
    job = record_end(run.job, report, step) if run.job else None
    # The row as it is now: record_job may have moved it.
    settled = settle(read_run(run.quick_test.id), job)
    if job is not None:
        announce_end(job)
    result.settled.append(settled.quick_test_id)


def _back_off(run: Unsettled, err: SwitchyardError, result: ReconcileResult) -> None:
    result.failed[run.quick_test.id] = str(err)
    _write_ledger(run, state="failed", attempts=run.repair_attempts + 1, error=str(err))


def _write_ledger(run: Unsettled, *, state: str, attempts: int, error: str = "") -> None:
    now = datetime.now(UTC)
    write_ledger(
        LedgerLine(
            kind="repair",
            quick_test_id=run.quick_test.id,
            state=state,
            attempts=attempts,
            error=error,
            next_try_at=to_next_try(attempts, now=now) if attempts else None,
            updated_at=now,
        )
    )


def _cancel_strays(jobs: dict[str, list[JobReport]], result: ReconcileResult) -> None:
    """Ends the jobs at work whose claim has ended: one that was given up as never created, or cancelled, while a slow
    submission made its job after all. A job of a claim that is open (its repair backs off, say) goes on."""
    for key, reports in jobs.items():
        for report in reports:
            if report.state.ended or report.problem:
                continue
            try:
                if record_job(key, report).state.ended:
                    cancel_job(report.job_name)
                    result.cancelled.append(report.job_name)
            except NotFound:
                # Its row is gone (a database put back from a backup): not ours to end, but somebody's to know.
                get_run_logger().warning(
                    "the job %s bears the key %s, which no row of this database has; end it by hand if nobody needs it",
                    report.job_name,
                    key,
                )
