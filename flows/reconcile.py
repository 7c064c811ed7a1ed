"""Reconcile: compares all jobs with all rows, and repairs the difference. It may run at any time.

It does the work even if everything else was killed; events and waiting flows only make it sooner.
switchyard/core/runs/walk.py decides what to do. A turn costs one list of jobs and one query, and then only what there
is to repair.
"""

import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
from prefect import flow, get_run_logger

from flows.parameters import ReconcileParameters
from flows.signatures import takes
from flows.steps.settling import settle
from flows.steps.waiting import record_end
from switchyard.core.errors import BadRecord, NotFound, SwitchyardError, TryAgain, catch, to_message
from switchyard.core.runs.jobs import JobReport, Reason
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.live import list_training
from switchyard.core.runs.missing import (
    LOOKS,
    Missing,
    add_look,
    is_gone,
    is_second_thought_due,
    to_gone_line,
    to_missing_line,
    to_seen_line,
)
from switchyard.core.runs.pulse import to_turn_line
from switchyard.core.runs.rows import Job, Unsettled
from switchyard.core.runs.walk import (
    Action,
    Graces,
    Step,
    choose_job,
    is_doubtful,
    is_published,
    next_action,
    to_next_try,
)
from tasks.announce import announce_completed, announce_end
from tasks.mirroring import mirror_models
from tasks.poll import cancel_job, find_job, list_jobs, publish_unwatched
from tasks.prune import prune_jobs, prune_predictions
from tasks.runs import list_unsettled, read_job, read_missing_lines, read_run, record_job, reopen_job, write_ledger
from tasks.show import name_flow_run

LOOKBACK = timedelta(days=1)
"""How far back jobs of claims that were given up are looked for, if no open job reaches further."""

_SHOWN = 20
"""Errors in the message; the ledger has all."""


_REPAIRS = frozenset((Action.RECORD, Action.CANCEL, Action.ANNOUNCE, Action.ANNOUNCE_COMPLETED, Action.INGEST))
_BEGUN = (
    "its repair was begun and did not come to an end: it is under way now, or its process was killed, perhaps because "
    "what the run left takes more memory than there is; see the log of reconcile's flow run of that time"
)

LOOKS_A_TURN = 10
"""Jobs that the list lacks are asked for by name, one request each: at most this many a turn.

With the ten pages of a list of a thousand jobs, the five looks that messages may cause (serving/push.py) and the four
requests of THOUGHTS_A_TURN, it is 29 requests a minute at most; one more for each job that is about to be called
gone."""
THOUGHTS_A_TURN = 2
"""Jobs that were called gone, and are looked for once more: two requests each."""
MIRROR_S = 10
"""Seconds for the registry's mirror in MLflow; the call that is under way then may take ten more."""
MIRROR_EVERY_S = 300
"""A model that has not changed here is looked at there only this often: two requests each."""


class ReconcileResult(msgspec.Struct, kw_only=True):
    """What one turn did, as quick test ids."""

    looked_at: int = 0
    unasked: int = 0  # jobs that the list lacks, to be asked for in later turns
    left: int = 0  # rows without a job, for the next turns
    settled: list[int] = []  # published, or ended with a reason
    recorded: list[int] = []  # adopted, or moved on
    missed: list[int] = []  # their jobs are not shown, which is not yet enough to call them gone
    reopened: list[int] = []  # their jobs were called gone, and are there
    announced: list[int] = []  # left to the ingest of their job-ended event
    told: list[int] = []  # completed before, and their event training-run.completed is sent now
    live: list[int] = []  # at work, and what they have trained so far is published
    live_failed: dict[int, str] = {}  # that could not be published; each has its line in the ledger, and goes on
    pruned: int = 0  # jobs of settled runs, after their folders were removed (JOB_FOLDERS_DAYS)
    pruned_predictions: int = 0  # older than PREDICTIONS_DAYS
    pruned_feedback: int = 0  # older than FEEDBACK_DAYS
    cancelled: list[str] = []  # names of jobs that must not go on
    failed: dict[int, str] = {}  # the error that is in the ledger too
    # By name: jobs of no run that is open, which could not be recorded, cancelled or looked for.
    failed_jobs: dict[str, str] = {}
    mirrored: list[str] = []  # models that had a mirror in MLflow's registry that was not as ours


class RepairsFailed(SwitchyardError):
    """Some runs could not be repaired; `result` says which, and what was done for the others."""

    def __init__(self, result: ReconcileResult) -> None:
        self.result = result
        lines = [f"quick test {id_}: {error}" for id_, error in list(result.failed.items())[:_SHOWN]]
        more = len(result.failed) - len(lines)
        said = "; ".join(lines) + (f"; and {more} more, see the ledger" if more else "")
        told = [f"{len(result.failed)} of {result.looked_at} runs could not be repaired: {said}"] if lines else []
        jobs = "; ".join(f"{name}: {error}" for name, error in list(result.failed_jobs.items())[:_SHOWN])
        if jobs:
            count = len(result.failed_jobs)
            told.append(f"{count} jobs of other runs could not be recorded, cancelled or looked for: {jobs}")
        super().__init__(". ".join(told))


@flow(name="reconcile")
@takes(ReconcileParameters)
def reconcile(wanted: ReconcileParameters) -> ReconcileResult:
    """Repairs every run with a row and a job that disagree.

    A run that cannot be repaired is tried again later, less and less often. It repairs all others before it fails, and
    names those that could not be repaired.
    """
    name_flow_run("reconcile")
    graces = Graces(
        claim=timedelta(seconds=wanted.claim_grace_s),
        event=timedelta(seconds=wanted.grace_s),
        missing=timedelta(seconds=wanted.missing_grace_s),
    )
    unsettled = list_unsettled(wanted.limit)
    ours = [run for run in unsettled if run.job or run.unread]
    others = [run for run in unsettled if not (run.job or run.unread)]
    jobs = _group(list_jobs(_to_since(unsettled, datetime.now(UTC))))
    lines = read_missing_lines()
    unasked = _choose_unasked(ours, jobs, datetime.now(UTC) - graces.claim)
    result = ReconcileResult(looked_at=len(ours), unasked=len(unasked))
    for run in ours:
        if run.quick_test.id not in unasked:
            reports = jobs.pop(run.job.key, []) if run.job else []
            _try_to_repair(run, reports, graces, result, lines.get(run.quick_test.id))
    _end_strays(jobs, result)
    _think_again(lines, result)
    _publish_others(others, wanted.without_job, graces, result)
    _publish_training(ours, result)
    if not result.failed:  # what is wrong with a repair is told first; another turn prunes
        result.pruned = prune_jobs()
    old = prune_predictions()  # whatever else is wrong: what is kept of buyers is kept no longer than was said
    result.pruned_predictions, result.pruned_feedback = old.predictions, old.feedback
    write_ledger(to_turn_line(failed=len(result.failed) + len(result.failed_jobs), now=datetime.now(UTC)))
    _mirror(result)
    get_run_logger().info("%s", msgspec.json.encode(result).decode())
    if result.failed or result.failed_jobs:
        raise RepairsFailed(result)
    return result


def _to_since(unsettled: list[Unsettled], now: datetime) -> datetime:
    """Returns when the oldest open job was claimed, or a day ago, whichever is earlier.

    It answers a minute less, because clocks differ.
    """
    claims = [run.job.claimed_at for run in unsettled if run.job and not run.job.state.ended]
    return min([*claims, now - LOOKBACK]) - timedelta(minutes=1)


def _group(reports: list[JobReport]) -> dict[str, list[JobReport]]:
    by_key: dict[str, list[JobReport]] = defaultdict(list)
    for report in reports:
        by_key[report.key].append(report)
    return by_key


def _choose_unasked(runs: list[Unsettled], jobs: Mapping[str, object], given_up_before: datetime) -> set[int]:
    """Chooses the runs that the list shows no job for and that wait for a later turn.

    The choice is by chance. The first in order may be of a region that no list covers now, at work for days, and would
    hide all others.
    """
    missing = [
        run.quick_test.id
        for run in runs
        if run.job
        and not run.job.state.ended
        and run.job.key not in jobs
        and (run.job.job_name or run.job.claimed_at <= given_up_before)
    ]
    return set(random.sample(missing, max(0, len(missing) - LOOKS_A_TURN)))


def _try_to_repair(
    run: Unsettled,
    reports: list[JobReport],
    graces: Graces,
    result: ReconcileResult,
    line: LedgerLine | None = None,
) -> Exception | None:
    """Repairs one run, or writes down why it could not; returns the error, if there was one.

    `line`: what earlier turns wrote about its job when they did not see it.

    Raises:
        TryAgain: the results database does not take a ledger line: there is no use in going on.
    """
    err = catch(partial(_repair, run, reports, graces, result, line))
    if err is not None:
        _back_off(run, err, result)
    return err


def _repair(
    run: Unsettled, reports: list[JobReport], graces: Graces, result: ReconcileResult, line: LedgerLine | None
) -> None:
    """Does the next thing for one run, and what follows from it at once.

    The attempt is in the ledger before anything is done. If the kernel kills this process in the middle (because the
    run's file takes all its memory, say), nothing else would be left, and the next turn would do the same. A look that
    finds nothing is not an attempt: it has a line of its own.
    """
    if run.unread:
        raise BadRecord(f"quick test {run.quick_test.id}", [run.unread])
    job, id_, now = run.job, run.quick_test.id, datetime.now(UTC)
    found: JobReport | Missing | None = None
    if job is not None and not job.state.ended:
        found = _choose_report(job, reports, graces, now, result) or add_look(line, job, now=now)
        if job.job_name and isinstance(found, Missing) and is_gone(found, now=now, missing_for=graces.missing):
            # Each turn's list and GET missed it: the list by its key has the last word.
            found = find_job(job, by_name=False) or found
    report = found if isinstance(found, JobReport) else None
    if report is not None and report.problem:
        raise TryAgain(report.problem)  # neither seen nor missed
    if report is not None and line is not None and line.state != "seen":
        write_ledger(to_seen_line(id_, now=now))
    step = next_action(run.quick_test.status, job, found, published=is_published(run), now=now, graces=graces)
    if step.action is Action.LOOK_AGAIN and isinstance(found, Missing):
        write_ledger(to_missing_line(id_, found))
        result.missed.append(id_)
    if step.action not in _REPAIRS:
        return
    _write_ledger(run, state="failed", attempts=run.repair_attempts + 1, error=_BEGUN)
    _act(run, report, step, result)
    _write_ledger(run, state="done", attempts=0)


def _act(run: Unsettled, report: JobReport | None, step: Step, result: ReconcileResult) -> None:
    id_, job = run.quick_test.id, run.job
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
        case Action.ANNOUNCE_COMPLETED if job is not None:
            if not announce_completed(run.quick_test, job):
                raise TryAgain(
                    f"the event training-run.completed of quick test {id_} reached no Prefect server "
                    "(PREFECT_API_URL); reconcile sends it again later"
                )
            result.told.append(id_)
        case Action.INGEST:
            _settle(run, report, step, result)
        case _:  # of the others each needs a job, or the launcher's report of it, and next_action has seen to that
            raise AssertionError(f"quick test {id_} cannot be repaired so: {step}")


def _publish_others(runs: list[Unsettled], limit: int, graces: Graces, result: ReconcileResult) -> None:
    """Publishes at most `limit` of the rows that another application completed.

    If MLflow, or what else they are read from, is away, it stops at the first row, which has waited long enough for all
    of them.
    """
    done = 0
    for run in runs[:limit]:
        done += 1
        if isinstance(_try_to_repair(run, [], graces, result), TryAgain):
            break
    result.looked_at += done
    result.left = len(runs) - done


def _publish_training(runs: list[Unsettled], result: ReconcileResult) -> None:
    """Publishes what the runs at work have trained so far, if no flow waits for them.

    Their trouble fails no turn: they go on, and their ends are published whatever became of that.
    """
    jobs = list_training(runs, [*result.settled, *result.announced, *result.failed])
    if not jobs:
        return
    turn = catch(partial(publish_unwatched, jobs))
    if isinstance(turn, Exception):
        get_run_logger().warning("what runs have trained so far is not published: %s", to_message(turn))
        return
    result.live, result.live_failed = turn.published, turn.failed
    for id_, said in turn.failed.items():
        get_run_logger().warning("quick test %d: what it has trained so far is not published: %s", id_, said)


def _mirror(result: ReconcileResult) -> None:
    """Repairs the registry's mirror in MLflow, last of all.

    Its trouble fails no turn, and takes it a few seconds at most.
    """
    turn = catch(partial(mirror_models, [], MIRROR_S, MIRROR_EVERY_S))
    if isinstance(turn, Exception):
        get_run_logger().warning("MLflow's registry was not looked at: %s", to_message(turn))
        return
    result.mirrored = sorted(turn.changed)
    if turn.away:
        get_run_logger().warning("MLflow's registry waits for the next turn: %s", turn.away)
    for name, said in turn.failed.items():
        get_run_logger().warning("model %s: MLflow's registry does not show what ours has: %s", name, said)
    for name, numbers in turn.several.items():
        get_run_logger().warning(
            "model %s: MLflow had versions %s in Production; ours alone stayed there",
            name,
            ", ".join(map(str, numbers)),
        )


def _choose_report(
    job: Job, reports: list[JobReport], graces: Graces, now: datetime, result: ReconcileResult
) -> JobReport | None:
    if not reports:
        # A list may lag behind, or lack a page: the job itself is asked for, but while its submission is under way.
        if job.job_name:
            return find_job(job, by_key=False)
        return find_job(job) if now - job.claimed_at >= graces.claim else None
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


def _back_off(run: Unsettled, err: Exception, result: ReconcileResult) -> None:
    said = to_message(err)
    result.failed[run.quick_test.id] = said
    get_run_logger().error("quick test %s could not be repaired: %s", run.quick_test.id, said, exc_info=err)
    unwritten = catch(partial(_write_ledger, run, state="failed", attempts=run.repair_attempts + 1, error=said))
    if isinstance(unwritten, TryAgain):
        raise unwritten
    if unwritten is not None:  # an id that the ledger cannot hold, say: that too is this run's trouble alone
        get_run_logger().error("quick test %s has no ledger line: %s", run.quick_test.id, to_message(unwritten))


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


def _end_strays(jobs: dict[str, list[JobReport]], result: ReconcileResult) -> None:
    """Reopens the claims that were called gone, or never created, but have jobs at work.

    It ends the jobs of other claims that have ended: for example, one that was cancelled while a slow submission still
    made its job. A job of an open claim goes on (the repair of the claim may back off, say).
    """
    at_work = [
        (key, report)
        for key, reports in jobs.items()
        for report in reports
        if not (report.state.ended or report.problem)
    ]
    for key, report in at_work:
        err = catch(partial(_end_stray, key, report, result))
        if isinstance(err, NotFound):
            # Its row is gone (a database put back from a backup): not ours to end, but someone's to know.
            get_run_logger().warning(
                "the job %s has the key %s, which no row of this database has; end it by hand if no one needs it",
                report.job_name,
                key,
            )
        elif isinstance(err, Exception):
            _say_job_failed(report.job_name, err, result)


def _end_stray(key: str, report: JobReport, result: ReconcileResult) -> None:
    job = record_job(key, report)
    if job.state.ended and not _reopen(job, report, result):
        cancel_job(report.job_name)
        result.cancelled.append(report.job_name)


def _think_again(lines: Mapping[int, LedgerLine], result: ReconcileResult) -> None:
    """Looks once more for jobs that were called gone, wherever they are and whether they have ended meanwhile.

    The ledger says when to look next before the look. So a look that fails, or ends this process, waits as long as one
    that finds nothing, and does not hide the others.

    Raises:
        TryAgain: the results database does not take a ledger line: there is no use in going on.
    """
    now = datetime.now(UTC)
    due = [line for line in lines.values() if is_second_thought_due(line, now=now)]
    for line in sorted(due, key=lambda line: line.next_try_at or now)[:THOUGHTS_A_TURN]:
        thoughts = line.attempts - LOOKS + 1
        later = to_gone_line(line.quick_test_id, now=now, thoughts=thoughts, since=line.updated_at)
        err = catch(partial(write_ledger, later))
        if isinstance(err, TryAgain):
            raise err
        err = err or catch(partial(_look_for_gone, line.quick_test_id, result))
        if err is not None:
            _say_job_failed(f"the job of quick test {line.quick_test_id}", err, result)


def _look_for_gone(quick_test_id: int, result: ReconcileResult) -> None:
    job = read_job(quick_test_id)
    if job is None or not is_doubtful(job):
        # Trained again, or reopened: there is no doubt left.
        write_ledger(to_seen_line(quick_test_id, now=datetime.now(UTC)))
        return
    report = find_job(job)
    if report is not None and report.problem:
        raise TryAgain(report.problem)  # neither there nor gone
    if report is not None:
        _reopen(job, report, result)


def _say_job_failed(name: str, err: Exception, result: ReconcileResult) -> None:
    said = to_message(err)
    result.failed_jobs[name] = said
    get_run_logger().error("%s could not be looked after: %s", name, said, exc_info=err)


def _reopen(job: Job, report: JobReport, result: ReconcileResult) -> bool:
    """Returns True if the run goes on with its job, which is there after all.

    If the job has ended, the next turn publishes.
    """
    if not is_doubtful(job) or report.reason is Reason.VANISHED or reopen_job(job.key).state.ended:
        return False
    write_ledger(to_seen_line(job.quick_test_id, now=datetime.now(UTC)))
    if not report.state.ended:
        record_job(job.key, report)
    result.reopened.append(job.quick_test_id)
    return True
