"""When the snapshots of a run that trains are looked at, and by which flow.

The flow that waits for the run looks, and reconcile looks at those that no flow waits for.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import Job, Unsettled

KIND: Final = "live"
"""The kind of the ledger's lines: `updated_at` is when the run's snapshot was last looked at, and `source_digest` the
generation that was seen."""
WATCHED: Final = "watched"
"""The state of a line that a waiting flow wrote; reconcile's are seen or failed, and they alone count to its minute."""
LOOK_S: Final = 2.0
"""Between two looks at a file that is as it was; the trainer writes one in ten seconds at most."""
PAUSE_S: Final = 10.0
"""Between two publishes of a run."""
LONGEST_PAUSE_S: Final = 60.0
LINE_S: Final = 25.0
"""Between two ledger lines of a waiting flow: with a snapshot every ten seconds none is older than `FRESH`."""
SHARE: Final = 20.0
"""A publish that took long (a file of 64 MB, a slow database) takes one part in `SHARE` of the time that is waited."""
FILES_A_MINUTE: Final = 60
FRESH: Final = timedelta(seconds=50)
"""A run that was looked at since then is left to the flow that looked: the one that waits for it, or reconcile's turn
of this very minute."""


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one look at a run's snapshot."""

    generation: int  # of what was seen; what was known before if nothing new was
    was_read: bool = False  # there was a new one
    published: bool = False
    problem: str = ""  # why it could not be published; empty: nothing went wrong
    is_passing: bool = False  # the same snapshot is worth another try


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """What a waiting flow remembers between two looks; seconds of a clock that never goes back."""

    generation: int = 0  # of the snapshot that readers have, or that was refused
    next_s: float = 0.0
    failures: int = 0  # in a row; the first of them was told
    line_s: float | None = None  # when its ledger line was written last

    def is_line_due(self, now_s: float) -> bool:
        """Returns True if reconcile must hear again that a flow looks after the run."""
        return self.line_s is None or now_s - self.line_s >= LINE_S


def after_look(state: LiveState, looked: Looked, *, started_s: float, ended_s: float) -> LiveState:
    """Returns what to remember after a look that took from `started_s` to `ended_s`."""
    if looked.problem:
        failures = state.failures + 1
        pause_s = min(LONGEST_PAUSE_S, PAUSE_S * 2 ** min(failures - 1, 10))
        next_s = ended_s + max(pause_s, SHARE * (ended_s - started_s))
        return LiveState(generation=looked.generation, next_s=next_s, failures=failures, line_s=state.line_s)
    if not looked.was_read:
        # Nothing new says nothing of whether the next publish will work.
        return msgspec.structs.replace(state, next_s=ended_s + LOOK_S)
    next_s = started_s + max(PAUSE_S, SHARE * (ended_s - started_s))
    return LiveState(generation=looked.generation, next_s=next_s, line_s=state.line_s)


def list_training(runs: Iterable[Unsettled], done: Iterable[int]) -> list[Job]:
    """Lists the jobs at work of runs that have not ended, if this turn has done nothing else for them."""
    left = set(done)
    return [
        run.job
        for run in runs
        if run.job is not None
        and run.job.state is JobState.RUNNING
        and not (run.unread or run.quick_test.status.ended or run.quick_test.id in left)
        and run.quick_test.gcs_artifacts_path
    ]


def choose_jobs(jobs: Iterable[Job], lines: Mapping[int, LedgerLine], *, now: datetime) -> list[Job]:
    """Returns the jobs with snapshots to look at now, the longest unseen first.

    There are as many as are left of this minute's looks.
    """
    minute = timedelta(minutes=1)
    looked = sum(line.state != WATCHED and now - minute < line.updated_at <= now for line in lines.values())
    waiting = [job for job in jobs if not _is_fresh(lines.get(job.quick_test_id), now)]

    def seen_at(job: Job) -> tuple[bool, datetime, int]:
        line = lines.get(job.quick_test_id)
        return line is not None, line.updated_at if line else job.claimed_at, job.quick_test_id

    return sorted(waiting, key=seen_at)[: max(0, FILES_A_MINUTE - looked)]


def _is_fresh(line: LedgerLine | None, now: datetime) -> bool:
    # A time to come is a clock's mistake: such a line must not hide its run.
    return line is not None and now - FRESH < line.updated_at <= now


def to_generation(line: LedgerLine | None) -> int:
    """Returns the generation that the last look saw; 0: none, or it is worth another try."""
    return int(line.source_digest) if line is not None and line.source_digest.isdecimal() else 0


def to_live_line(job: Job, looked: Looked, before: LedgerLine | None, *, is_watched: bool, now: datetime) -> LedgerLine:
    """Returns the line that the next look finds; `is_watched`: a flow that waits for the job has looked."""
    if before is not None and not (looked.was_read or looked.problem):
        # The same snapshot: what was wrong with it still is.
        state = before.state if before.error else _to_state(looked, is_watched=is_watched)
        return msgspec.structs.replace(before, state=state, updated_at=now)
    return LedgerLine(
        kind=KIND,
        quick_test_id=job.quick_test_id,
        state=_to_state(looked, is_watched=is_watched),
        attempts=(before.attempts if before is not None else 0) + 1 if looked.problem else 0,
        error=looked.problem,
        source_digest=str(looked.generation) if looked.generation and not looked.is_passing else "",
        updated_at=now,
    )


def _to_state(looked: Looked, *, is_watched: bool) -> str:
    if is_watched:
        return WATCHED
    return "failed" if looked.problem else "seen"
