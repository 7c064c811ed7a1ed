"""What happens next to a run: one pure decision, taken the same way by the flow that waits for a job and by reconcile.

docs/walk.md draws it. The callers act; nothing here reaches outside, and the time is an argument.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from switchyard.core.runs.jobs import JobReport, JobState, Reason, read_reason
from switchyard.core.runs.missing import MISSING_FOR, Missing, is_gone
from switchyard.core.runs.rows import Job, NewestJob, RunStatus, Unsettled

MAX_BACKOFF = timedelta(days=1)
FIRST_BACKOFF = timedelta(minutes=1)


class Action(StrEnum):
    """What the caller does now."""

    NOTHING = "nothing"  # settled, or not ours to touch
    WAIT = "wait"  # someone else is about to act, or the job is at work: look again later
    LOOK_AGAIN = "look again"  # no look shows the job, and that is not yet enough to call it gone: remember it
    RECORD = "record"  # write what the launcher said
    ANNOUNCE = "announce"  # write the job's end and emit its event; the event's ingest comes first
    ANNOUNCE_COMPLETED = "announce completed"  # emit the event of the completed run, which it still owes
    INGEST = "ingest"  # write the job's end, then publish what it left, or end the run
    CANCEL = "cancel"  # ask the launcher to end the job
    GIVE_UP = "give up"  # stop waiting; the job is left to run


class Graces(msgspec.Struct, frozen=True, kw_only=True):
    """How long others may take before we act in their place."""

    claim: timedelta = timedelta(minutes=10)  # a claim's own submit, retries included
    event: timedelta = timedelta(0)  # the ingest that a job-ended event starts
    missing: timedelta = MISSING_FOR  # that looks must miss a job before it is called gone


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The next action; `state` and `reason` are what to record of the job before it (None: nothing new)."""

    action: Action
    state: JobState | None = None
    reason: Reason = Reason.NONE
    message: str = ""


def next_action(
    status: RunStatus,
    job: Job | None,
    report: JobReport | Missing | None,
    *,
    published: bool,
    now: datetime,
    graces: Graces,
    deadline: datetime | None = None,
) -> Step:
    """Returns the one thing to do now for a run in `status` with `job` as its newest job, as `report` sees that job.

    `report` Missing means that the launcher was asked and does not show the job; None, that it was not asked (there is
    no job, or it has ended). Decided from what is stored and seen now, never from what the caller did before: it may
    have been killed anywhere.
    """
    if job is None:
        # Another application completed its row, or its history was deleted: what the run left can be published.
        # Without a claim, a row that has not ended is its owner's to move.
        unread = status is RunStatus.COMPLETED and not published
        return Step(action=Action.INGEST if unread else Action.NOTHING)
    if job.state.ended:
        if status.ended and (published or status is not RunStatus.COMPLETED):
            return _after_publish(status, job, now, graces)
        # The job's end was recorded, and the process that recorded it was killed, or failed, before publishing.
        return _after_end(job, Step(action=Action.INGEST), now, graces)
    if not isinstance(report, JobReport):
        return _without_report(job, report or Missing(since=now), now, graces)
    if report.problem:
        # Its launcher could not look (a folder that may not be read, say): it may be at work, or have ended.
        return Step(action=Action.WAIT)
    if report.state.ended:
        # The usual way: a job ends while no one looks. Dead before its container started comes here too.
        ended = Step(action=Action.INGEST, state=report.state, reason=report.reason, message=report.message)
        return _after_end(job, ended, now, graces)
    if status.ended:
        # Its row was ended (cancelled, or a claim given up too early) while a late submit made the job after all.
        return Step(action=Action.CANCEL)
    if (report.job_name, report.state) != (job.job_name, job.state):
        # It moved on; or the process that submitted it was killed before it wrote the job's name: adopted.
        return Step(action=Action.RECORD, state=report.state, reason=report.reason, message=report.message)
    if deadline is not None and now >= deadline:
        # Only the waiting gives up. The launcher holds the job to its own timeout, and reconcile publishes its end.
        return Step(action=Action.GIVE_UP)
    return Step(action=Action.WAIT)


def _after_publish(status: RunStatus, job: Job, now: datetime, graces: Graces) -> Step:
    """Returns what is still to be told of a run that has ended and is published where it is completed."""
    if job.ended_event_at is None:
        # Published and ended in one transaction, then killed before the event: it is still owed, once. The ingest that
        # it starts tells the completion too.
        return Step(action=Action.ANNOUNCE)
    # If the job of a completed run failed, or was cancelled, its owner did that: of that no one is told later.
    owed = status is RunStatus.COMPLETED and job.state is JobState.SUCCEEDED and job.completed_event_at is None
    if not owed:
        return Step(action=Action.NOTHING)
    if now - job.ended_event_at < graces.event:
        # The ingest that the job-ended event starts may be between its publish and its event this second.
        return Step(action=Action.WAIT)
    # That ingest was killed between the two, or no Prefect server took the event. The same event twice is one.
    return Step(action=Action.ANNOUNCE_COMPLETED)


def _without_report(job: Job, missing: Missing, now: datetime, graces: Graces) -> Step:
    if not job.job_name and now - job.claimed_at < graces.claim:
        # Claimed, not seen: its submit may be under way this second.
        return Step(action=Action.WAIT)
    if not is_gone(missing, now=now, missing_for=graces.missing):
        # A replica that lags, a permission that was taken away for a moment, one empty page: the next look tells.
        return Step(action=Action.LOOK_AGAIN)
    # The launcher named it once and knows it no more: its folder or its record was deleted. Without a name, the
    # submitting process was killed between claim and create.
    reason = Reason.VANISHED if job.job_name else Reason.NEVER_CREATED
    return _after_end(job, Step(action=Action.INGEST, state=JobState.FAILED, reason=reason), now, graces)


def is_doubtful(job: Job) -> bool:
    """Returns True for a job that no one saw end: it was called gone, or never created, because no look showed it."""
    return job.state is JobState.FAILED and read_reason(job.reason) in (Reason.VANISHED, Reason.NEVER_CREATED)


def may_reopen(job: Job, status: RunStatus, *, is_newest: bool) -> bool:
    """Returns whether a job that is seen after all goes on as its run's job.

    It may not if its run has a newer attempt, or its owner has ended the run in another way since.
    """
    return is_newest and status is RunStatus.FAILED and is_doubtful(job)


def is_published(run: Unsettled) -> bool:
    """Returns whether anything is published of the run that its end may leave as it is.

    Its partial history may not, where its row is completed: an application's own, if its job was killed between its end
    and its last publish.
    """
    if run.job is not None and run.quick_test.status is RunStatus.COMPLETED:
        return run.published_status not in (None, "partial")
    return run.published_status is not None


def may_end(of_attempt: int | None, newest: NewestJob | None) -> bool:
    """Returns whether an ended status, and its error, go on a run's row.

    `newest` is the run's newest job as it is now (None: it has none).

    `of_attempt`: from the end of this attempt they were concluded; 0 for none, None if someone decided on the run
    itself. What an attempt left takes a while to read. Meanwhile a request may have claimed the next one, or the
    attempt may have been reopened: the row is then that job's to end. Ended all the same, its job would be cancelled.
    """
    if of_attempt is None or newest is None:
        return True
    return newest.attempt <= of_attempt and newest.state.ended


def _after_end(job: Job, ingest: Step, now: datetime, graces: Graces) -> Step:
    """Returns `ingest`, unless the ingest that the job-ended event starts is still to have its turn."""
    if not graces.event:
        return ingest
    if job.ended_event_at is None:
        return msgspec.structs.replace(ingest, action=Action.ANNOUNCE)
    if now - job.ended_event_at < graces.event:
        return Step(action=Action.WAIT)
    # The event was lost, or its ingest was: the worker is down, say.
    return ingest


def choose_job(reports: Iterable[JobReport]) -> tuple[JobReport, list[JobReport]]:
    """Returns, of the jobs that have one key, the oldest, and the younger ones that have not ended.

    The oldest is kept.

    Two exist when a create was answered with an error and retried by hand, or two launchers raced. `reports` must not
    be empty.
    """
    oldest, *younger = sorted(reports, key=lambda report: (report.created_at, report.job_name))
    return oldest, [report for report in younger if not report.state.ended]


def to_next_try(attempts: int, *, now: datetime) -> datetime:
    """Returns when a repair that has failed `attempts` times (from 1) is tried again.

    That is after 1, 2, 4, ... minutes, a day at most.
    """
    return now + min(FIRST_BACKOFF * (1 << min(attempts - 1, 20)), MAX_BACKOFF)
