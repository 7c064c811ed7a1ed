"""Whose snapshots are looked at now, and when again: tables of values."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest

from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.live import (
    FILES_A_MINUTE,
    FRESH,
    LONGEST_PAUSE_S,
    LOOK_S,
    PAUSE_S,
    WATCHED,
    LiveState,
    Looked,
    after_look,
    choose_jobs,
    list_training,
    to_generation,
    to_live_line,
)
from switchyard.core.runs.rows import Job, QuickTest, RunStatus, Unsettled

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def make_job(quick_test_id: int, state: JobState = JobState.RUNNING) -> Job:
    return Job(
        quick_test_id=quick_test_id, attempt=1, key=f"key-{quick_test_id}", request_key="r", state=state, claimed_at=NOW
    )


def make_line(quick_test_id: int, ago_s: float, state: str = "seen") -> LedgerLine:
    return LedgerLine(
        kind="live", quick_test_id=quick_test_id, state=state, attempts=0, updated_at=NOW - timedelta(seconds=ago_s)
    )


def choose(count: int, *lines: LedgerLine) -> list[int]:
    jobs = [make_job(id_) for id_ in range(1, count + 1)]
    return [job.quick_test_id for job in choose_jobs(jobs, {line.quick_test_id: line for line in lines}, now=NOW)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], [1, 2, 3]),
        ([make_line(1, 300), make_line(2, 600)], [3, 2, 1]),
        ([make_line(1, 49), make_line(2, 51)], [3, 2]),
        ([make_line(2, 5, WATCHED)], [1, 3]),
        ([make_line(2, -3600)], [1, 3, 2]),
    ],
    ids=["none was seen", "the longest unseen first", "a minute ago", "a flow waits for it", "a clock's mistake"],
)
def test_the_longest_unseen_is_looked_at_first(lines: list[LedgerLine], expected: list[int]) -> None:
    """A run that no one has looked at yet comes before all others; one that was looked at just now is left alone."""
    assert choose(3, *lines) == expected


def test_a_minute_has_so_many_looks_and_no_more() -> None:
    """However often reconcile is run; and those of waiting flows take nothing of it."""
    assert choose(100) == list(range(1, FILES_A_MINUTE + 1))
    some = [make_line(id_, 30) for id_ in range(1, 51)]
    assert len(choose(100, *some)) == FILES_A_MINUTE - 50
    assert choose(100, *(make_line(id_, 30) for id_ in range(1, 61))) == []
    assert len(choose(200, *(make_line(id_, 30, WATCHED) for id_ in range(1, 101)))) == FILES_A_MINUTE


def test_a_thousand_runs_all_have_their_turn() -> None:
    """Turn after turn, a minute apart, each is looked at before any is a second time."""
    jobs = [make_job(id_) for id_ in range(1, 1001)]
    lines: dict[int, LedgerLine] = {}
    for turn in range(17):
        now = NOW + timedelta(minutes=turn)
        for job in choose_jobs(jobs, lines, now=now):
            lines[job.quick_test_id] = to_live_line(job, Looked(generation=0), None, is_watched=False, now=now)
    assert len(lines) == 1000


def test_runs_that_train_are_those_of_jobs_at_work() -> None:
    """Not one whose job waits or has ended, whose row has ended or cannot be read, or that this turn did more for."""
    path = "file:///runs/1"

    def make(id_: int, state: JobState, status: RunStatus = RunStatus.RUNNING, **more: str) -> Unsettled:
        row = QuickTest(id=id_, status=status, gcs_artifacts_path=more.pop("path", path))
        return Unsettled(quick_test=row, job=make_job(id_, state), published_status=None, **more)  # type: ignore[arg-type]

    runs = [
        make(1, JobState.RUNNING),
        make(2, JobState.QUEUED),
        make(3, JobState.SUCCEEDED),
        make(4, JobState.RUNNING, RunStatus.CANCELLED),
        make(5, JobState.RUNNING, unread="its parameters"),
        make(6, JobState.RUNNING),
        make(7, JobState.RUNNING, path=""),
        Unsettled(
            quick_test=QuickTest(id=8, status=RunStatus.COMPLETED, gcs_artifacts_path=path),
            job=None,
            published_status=None,
        ),
    ]
    assert [job.quick_test_id for job in list_training(runs, done=[6])] == [1]


SEEN = Looked(generation=7)
READ = Looked(generation=8, was_read=True, published=True)
REFUSED = Looked(generation=8, was_read=True, problem="no JSON")
AWAY = Looked(generation=7, problem="the database is away", is_passing=True)


@pytest.mark.parametrize(
    ("failures", "looked", "took_s", "expected"),
    [
        (0, SEEN, 0.1, LiveState(generation=7, next_s=100.1 + LOOK_S)),
        (2, SEEN, 0.1, LiveState(generation=7, next_s=100.1 + LOOK_S, failures=2)),
        (0, READ, 0.1, LiveState(generation=8, next_s=100 + PAUSE_S)),
        (3, READ, 0.1, LiveState(generation=8, next_s=100 + PAUSE_S)),
        (0, READ, 5.0, LiveState(generation=8, next_s=200)),
        (0, REFUSED, 0.1, LiveState(generation=8, next_s=100.1 + PAUSE_S, failures=1)),
        (0, AWAY, 0.1, LiveState(generation=7, next_s=100.1 + PAUSE_S, failures=1)),
        (1, AWAY, 0.1, LiveState(generation=7, next_s=100.1 + 2 * PAUSE_S, failures=2)),
        (9, AWAY, 0.1, LiveState(generation=7, next_s=100.1 + LONGEST_PAUSE_S, failures=10)),
    ],
)
def test_when_a_waiting_flow_looks_again(failures: int, looked: Looked, took_s: float, expected: LiveState) -> None:
    """Soon where nothing is new, ten seconds after a publish began, ever more seldom where it fails or takes long."""
    before = LiveState(generation=7, failures=failures)
    after = after_look(before, looked, started_s=100, ended_s=100 + took_s)
    assert (after.generation, after.failures) == (expected.generation, expected.failures)
    assert after.next_s == pytest.approx(expected.next_s)


def test_a_line_is_written_again_before_it_is_stale() -> None:
    """With a snapshot every ten seconds; not with each of them."""
    state, written = LiveState(), list[int]()
    for now_s in range(0, 100, 10):
        if state.is_line_due(now_s):
            written.append(now_s)
            state = msgspec.structs.replace(state, line_s=float(now_s))
        state = after_look(state, READ, started_s=now_s, ended_s=now_s)
    assert written == [0, 30, 60, 90]
    assert max(after - before for before, after in pairwise(written)) + PAUSE_S < FRESH.total_seconds()


def test_a_line_keeps_what_was_wrong_until_a_new_snapshot_is_read() -> None:
    """A refused snapshot is not read again, and stays refused; one that could not be read is tried again."""
    job = make_job(1)
    refused = to_live_line(job, REFUSED, None, is_watched=False, now=NOW)
    assert (refused.state, refused.attempts, refused.error, to_generation(refused)) == ("failed", 1, "no JSON", 8)
    same = to_live_line(job, Looked(generation=8), refused, is_watched=False, now=NOW + timedelta(minutes=1))
    assert (same.state, same.error, same.updated_at - NOW) == ("failed", "no JSON", timedelta(minutes=1))
    mended = to_live_line(job, Looked(generation=9, was_read=True), same, is_watched=False, now=NOW)
    assert (mended.state, mended.attempts, mended.error, to_generation(mended)) == ("seen", 0, "", 9)
    away = to_live_line(job, AWAY, mended, is_watched=False, now=NOW)
    assert (away.state, away.attempts, to_generation(away)) == ("failed", 1, 0)
    assert to_live_line(job, READ, away, is_watched=True, now=NOW).state == WATCHED
    assert to_generation(None) == 0
