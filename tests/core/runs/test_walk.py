"""The walk's one decision, as a table."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from switchyard.core.runs.jobs import JobReport, JobState, Reason
from switchyard.core.runs.missing import (
    LOOKS,
    MISSING_FOR,
    SECOND_THOUGHTS_FOR,
    Missing,
    add_look,
    is_gone,
    is_second_thought_due,
    to_gone_line,
    to_missing_line,
    to_seen_line,
)
from switchyard.core.runs.rows import Job, NewestJob, QuickTest, RunStatus, Unsettled
from switchyard.core.runs.walk import (
    Action,
    Graces,
    Step,
    choose_job,
    is_published,
    may_end,
    may_reopen,
    next_action,
    to_next_try,
)

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
PATIENT = Graces(claim=timedelta(minutes=10), event=timedelta(seconds=90))


def make_job(
    state: JobState,
    *,
    name: str = "job-1",
    claimed_s: float = 60,
    announced_s: float | None = None,
    told: bool = False,
    reason: str = "",
) -> Job:
    return Job(
        quick_test_id=12,
        attempt=1,
        key="key",
        request_key="request",
        state=state,
        job_name=name,
        reason=reason,
        claimed_at=NOW - timedelta(seconds=claimed_s),
        ended_event_at=None if announced_s is None else NOW - timedelta(seconds=announced_s),
        completed_event_at=NOW if told else None,
    )


def make_report(state: JobState, *, name: str = "job-1", age_s: float = 50) -> JobReport:
    return JobReport(job_name=name, key="key", state=state, created_at=NOW - timedelta(seconds=age_s))


def make_missing(looks: int, for_s: float) -> Missing:
    return Missing(looks=looks, since=NOW - timedelta(seconds=for_s))


GONE = make_missing(3, 60)


def decide(
    status: RunStatus,
    job: Job | None,
    report: JobReport | Missing | None = None,
    *,
    published: bool = False,
    graces: Graces | None = None,
    deadline: datetime | None = None,
) -> Step:
    return next_action(status, job, report, published=published, now=NOW, graces=graces or Graces(), deadline=deadline)


UNSEEN = msgspec.structs.replace(make_report(JobState.RUNNING), problem="Permission denied")


@pytest.mark.parametrize(
    ("status", "job", "report", "published", "action"),
    [
        # no job of ours
        (RunStatus.PENDING, None, None, False, Action.NOTHING),
        (RunStatus.FAILED, None, None, False, Action.NOTHING),
        (RunStatus.COMPLETED, None, None, True, Action.NOTHING),
        (RunStatus.COMPLETED, None, None, False, Action.INGEST),
        # claimed, no job seen
        (RunStatus.SUBMITTED, make_job(JobState.CLAIMED, name="", claimed_s=599), GONE, False, Action.WAIT),
        (RunStatus.SUBMITTED, make_job(JobState.CLAIMED, name="", claimed_s=600), GONE, False, Action.INGEST),
        (RunStatus.SUBMITTED, make_job(JobState.CLAIMED, name="", claimed_s=600), None, False, Action.LOOK_AGAIN),
        # named, and not shown
        (RunStatus.RUNNING, make_job(JobState.RUNNING), None, False, Action.LOOK_AGAIN),
        (RunStatus.RUNNING, make_job(JobState.RUNNING), make_missing(1, 3600), False, Action.LOOK_AGAIN),
        (RunStatus.RUNNING, make_job(JobState.RUNNING), make_missing(2, 60), False, Action.LOOK_AGAIN),
        (RunStatus.RUNNING, make_job(JobState.RUNNING), make_missing(99, 59), False, Action.LOOK_AGAIN),
        (RunStatus.RUNNING, make_job(JobState.RUNNING), make_missing(3, 60), False, Action.INGEST),
        # at work
        (RunStatus.SUBMITTED, make_job(JobState.CLAIMED, name=""), make_report(JobState.QUEUED), False, Action.RECORD),
        (RunStatus.SUBMITTED, make_job(JobState.QUEUED), make_report(JobState.QUEUED), False, Action.WAIT),
        (RunStatus.SUBMITTED, make_job(JobState.QUEUED), make_report(JobState.RUNNING), False, Action.RECORD),
        (RunStatus.RUNNING, make_job(JobState.RUNNING), make_report(JobState.RUNNING), True, Action.WAIT),
        (RunStatus.RUNNING, make_job(JobState.RUNNING, name="b"), make_report(JobState.RUNNING), True, Action.RECORD),
        # its launcher could not look
        (RunStatus.SUBMITTED, make_job(JobState.QUEUED), UNSEEN, False, Action.WAIT),
        (RunStatus.CANCELLED, make_job(JobState.RUNNING), UNSEEN, False, Action.WAIT),
        # at work for a run that has ended
        (RunStatus.CANCELLED, make_job(JobState.RUNNING), make_report(JobState.RUNNING), False, Action.CANCEL),
        (RunStatus.COMPLETED, make_job(JobState.QUEUED), make_report(JobState.QUEUED), True, Action.CANCEL),
        # ended
        (RunStatus.RUNNING, make_job(JobState.RUNNING), make_report(JobState.SUCCEEDED), False, Action.INGEST),
        (RunStatus.SUBMITTED, make_job(JobState.QUEUED), make_report(JobState.FAILED), False, Action.INGEST),
        (RunStatus.CANCELLED, make_job(JobState.RUNNING), make_report(JobState.CANCELLED), False, Action.INGEST),
        (RunStatus.RUNNING, make_job(JobState.SUCCEEDED), None, False, Action.INGEST),
        (RunStatus.RUNNING, make_job(JobState.FAILED), None, True, Action.INGEST),
        (RunStatus.COMPLETED, make_job(JobState.SUCCEEDED), None, False, Action.INGEST),
        # ended and settled
        (RunStatus.COMPLETED, make_job(JobState.SUCCEEDED, announced_s=1, told=True), None, True, Action.NOTHING),
        (RunStatus.FAILED, make_job(JobState.FAILED, announced_s=1), None, False, Action.NOTHING),
        (RunStatus.COMPLETED, make_job(JobState.SUCCEEDED), None, True, Action.ANNOUNCE),
        (RunStatus.COMPLETED, make_job(JobState.SUCCEEDED, told=True), None, True, Action.ANNOUNCE),
        # its end is told, that it completed its run is not
        (RunStatus.COMPLETED, make_job(JobState.SUCCEEDED, announced_s=1), None, True, Action.ANNOUNCE_COMPLETED),
        (RunStatus.COMPLETED, make_job(JobState.SUCCEEDED, announced_s=1), None, False, Action.INGEST),
        (RunStatus.FAILED, make_job(JobState.SUCCEEDED, announced_s=1), None, True, Action.NOTHING),
        (RunStatus.CANCELLED, make_job(JobState.SUCCEEDED, announced_s=1), None, False, Action.NOTHING),
        (RunStatus.COMPLETED, make_job(JobState.FAILED, announced_s=1), None, True, Action.NOTHING),
        (RunStatus.COMPLETED, make_job(JobState.CANCELLED, announced_s=1), None, True, Action.NOTHING),
    ],
)
def test_next_action(
    status: RunStatus, job: Job | None, report: JobReport | Missing | None, published: bool, action: Action
) -> None:
    """Each situation has one next action, whatever led to it."""
    assert decide(status, job, report, published=published).action is action


@pytest.mark.parametrize(("announced_s", "action"), [(None, Action.ANNOUNCE), (89, Action.WAIT), (90, Action.INGEST)])
def test_the_event_s_ingest_comes_first_for_a_while(announced_s: float | None, action: Action) -> None:
    """With a grace, an end is announced, then left to the event's ingest, then published after all."""
    job = make_job(JobState.RUNNING, announced_s=announced_s)
    assert decide(RunStatus.RUNNING, job, make_report(JobState.SUCCEEDED), graces=PATIENT).action is action


@pytest.mark.parametrize(
    ("announced_s", "action"),
    [(None, Action.ANNOUNCE), (89, Action.WAIT), (90, Action.ANNOUNCE_COMPLETED)],
)
def test_the_event_s_ingest_tells_the_completion_first(announced_s: float | None, action: Action) -> None:
    """With a grace, a completed run whose completion is not told is left to that ingest for as long."""
    job = make_job(JobState.SUCCEEDED, announced_s=announced_s)
    assert decide(RunStatus.COMPLETED, job, published=True, graces=PATIENT).action is action


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (make_job(JobState.CLAIMED, name="", claimed_s=9999), Reason.NEVER_CREATED),
        (make_job(JobState.RUNNING), Reason.VANISHED),
    ],
)
def test_a_job_that_is_nowhere_has_failed(job: Job, reason: Reason) -> None:
    """What is recorded of a job without a report: failed, and why."""
    step = decide(RunStatus.RUNNING, job, GONE)
    assert (step.state, step.reason) == (JobState.FAILED, reason)


def test_only_waiting_gives_up_at_the_deadline() -> None:
    """Past the deadline a job at work is left alone, one that has ended is still published."""
    job = make_job(JobState.RUNNING)
    assert decide(RunStatus.RUNNING, job, make_report(JobState.RUNNING), deadline=NOW).action is Action.GIVE_UP
    assert decide(RunStatus.RUNNING, job, make_report(JobState.SUCCEEDED), deadline=NOW).action is Action.INGEST


def test_the_oldest_of_two_jobs_with_one_key_is_kept() -> None:
    """Of the younger ones, those that have not ended are named."""
    old, young, ended = (
        make_report(JobState.RUNNING, name="old", age_s=9),
        make_report(JobState.QUEUED, name="young", age_s=5),
        make_report(JobState.FAILED, name="ended", age_s=7),
    )
    assert choose_job([young, ended, old]) == (old, [young])


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 1), (2, 2), (5, 16), (11, 1024), (12, 1440), (10_000, 1440)])
def test_repairs_back_off_to_a_day(attempts: int, minutes: int) -> None:
    """Twice as long each time, and never longer than a day."""
    assert to_next_try(attempts, now=NOW) - NOW == timedelta(minutes=minutes)


def test_looks_in_vain_add_up_until_the_job_is_seen() -> None:
    """Three turns of reconcile, each a process of its own, remember by the ledger since when a job is missing."""
    job, line = make_job(JobState.RUNNING, claimed_s=3600), None
    for minute in range(LOOKS):
        now = NOW + timedelta(minutes=minute)
        missing = add_look(line, job, now=now)
        assert (missing.looks, missing.since) == (minute + 1, NOW)
        line = to_missing_line(job.quick_test_id, missing)
    assert is_gone(missing, now=now)
    seen = to_seen_line(job.quick_test_id, now=now)
    assert add_look(seen, job, now=now) == Missing(looks=1, since=now)


def test_looks_for_an_earlier_attempt_do_not_count() -> None:
    """A line from before the claim is another job's."""
    line = to_missing_line(12, make_missing(7, 3600))
    assert add_look(line, make_job(JobState.RUNNING, claimed_s=60), now=NOW) == Missing(looks=1, since=NOW)


def test_a_job_called_gone_is_looked_for_again_for_two_days() -> None:
    """After 1, 2, 4, ... minutes, and no more after that."""
    line = to_gone_line(12, now=NOW)
    minute = timedelta(minutes=1)
    assert not is_second_thought_due(line, now=NOW + 0.9 * minute)
    assert is_second_thought_due(line, now=NOW + minute)
    line = to_gone_line(12, now=NOW + minute, thoughts=1, since=line.updated_at)
    assert not is_second_thought_due(line, now=NOW + 2.9 * minute)
    assert is_second_thought_due(line, now=NOW + 3 * minute)
    assert not is_second_thought_due(line, now=NOW + SECOND_THOUGHTS_FOR + minute)
    assert not is_second_thought_due(to_missing_line(12, make_missing(9, 999)), now=NOW)


@pytest.mark.parametrize(
    ("reason", "status", "is_newest", "expected"),
    [
        (Reason.VANISHED, RunStatus.FAILED, True, True),
        (Reason.NEVER_CREATED, RunStatus.FAILED, True, True),
        (Reason.VANISHED, RunStatus.FAILED, False, False),
        (Reason.VANISHED, RunStatus.CANCELLED, True, False),
        (Reason.VANISHED, RunStatus.COMPLETED, True, False),
        (Reason.EXITED, RunStatus.FAILED, True, False),
        (Reason.CANCEL_ASKED, RunStatus.FAILED, True, False),
    ],
)
def test_only_what_nobody_saw_end_is_reopened(
    reason: Reason, status: RunStatus, is_newest: bool, expected: bool
) -> None:
    """A job that was called gone goes on, unless someone decided otherwise since."""
    job = make_job(JobState.FAILED, reason=reason)
    assert may_reopen(job, status, is_newest=is_newest) is expected
    assert not may_reopen(make_job(JobState.RUNNING, reason=reason), status, is_newest=is_newest)


@pytest.mark.parametrize(
    ("of_attempt", "newest", "expected"),
    [
        (1, (1, JobState.SUCCEEDED), True),
        (1, (1, JobState.FAILED), True),
        (2, (2, JobState.CANCELLED), True),
        # claimed meanwhile, at work, or ended and still to be read
        (1, (2, JobState.CLAIMED), False),
        (1, (2, JobState.RUNNING), False),
        (1, (2, JobState.FAILED), False),
        # reopened meanwhile
        (1, (1, JobState.CLAIMED), False),
        (1, (1, JobState.RUNNING), False),
        # concluded from no job
        (0, None, True),
        (0, (1, JobState.QUEUED), False),
        (0, (1, JobState.FAILED), False),
        # someone has decided on the run itself
        (None, None, True),
        (None, (1, JobState.RUNNING), True),
    ],
)
def test_a_run_is_ended_by_its_newest_job_alone(
    of_attempt: int | None, newest: tuple[int, JobState] | None, expected: bool
) -> None:
    """A process that reads what an attempt left may be late; and a person's word is not concluded from a job."""
    job = NewestJob(attempt=newest[0], state=newest[1]) if newest else None
    assert may_end(of_attempt, job) is expected


def test_a_minute_is_the_least() -> None:
    """The same three looks within a moment say nothing."""
    assert not is_gone(Missing(looks=LOOKS, since=NOW), now=NOW + MISSING_FOR - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("status", "has_job", "published", "expected"),
    [
        (RunStatus.COMPLETED, True, None, False),
        (RunStatus.COMPLETED, True, "partial", False),
        (RunStatus.COMPLETED, True, "completed", True),
        (RunStatus.COMPLETED, False, "partial", True),
        (RunStatus.FAILED, True, "partial", True),
        (RunStatus.RUNNING, True, "partial", True),
        (RunStatus.RUNNING, True, None, False),
    ],
)
def test_what_was_published_while_a_run_trained_is_not_its_last_word(
    status: RunStatus, published: str | None, *, has_job: bool, expected: bool
) -> None:
    """An application completed its row before the end was published: it is published all the same."""
    job = make_job(JobState.SUCCEEDED) if has_job else None
    run = Unsettled(quick_test=QuickTest(id=12, status=status), job=job, published_status=published)
    assert is_published(run) is expected
