"""When a job that its launcher does not show is gone.

One odd answer is not the truth: a single 404, or one list that lacks it, has ended healthy jobs that were paid for.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import Job

KIND: Final = "missing"
"""The kind of the ledger's lines: reconcile's turns are separate processes, and remember there."""
LOOKS: Final = 3
"""This many looks in a row must miss a job. A look asks for it by its name, and lists the jobs of its key."""
MISSING_FOR: Final = timedelta(minutes=1)
"""The least time between the first and the last of them."""
SECOND_THOUGHTS_FOR: Final = timedelta(days=2)
"""How long a job that was called gone is looked for again, now and then."""
_FIRST_SECOND_THOUGHT: Final = timedelta(minutes=1)


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A job that the last `looks` looks did not see, the first of them `since`."""

    looks: int = 1
    since: datetime


def is_gone(missing: Missing, *, now: datetime, missing_for: timedelta = MISSING_FOR) -> bool:
    """Returns True once nothing but a job that is gone explains it."""
    return missing.looks >= LOOKS and now - missing.since >= missing_for


def add_look(line: LedgerLine | None, job: Job, *, now: datetime) -> Missing:
    """Returns what is known after one more look that found nothing; `line` is what the looks before it left."""
    # An earlier attempt's line says nothing of this job, nor one from before it was seen again.
    if line is None or line.state == "seen" or line.updated_at < job.claimed_at:
        return Missing(since=now)
    return Missing(looks=line.attempts + 1, since=line.updated_at)


def to_missing_line(quick_test_id: int, missing: Missing) -> LedgerLine:
    """Returns the line that the next look finds. `updated_at` is when the job was first missed."""
    return LedgerLine(
        kind=KIND, quick_test_id=quick_test_id, state="missing", attempts=missing.looks, updated_at=missing.since
    )


def to_gone_line(quick_test_id: int, *, now: datetime, thoughts: int = 0, since: datetime | None = None) -> LedgerLine:
    """Returns the line of a job that was called gone (`since`; None: now), and looked for `thoughts` times since."""
    return LedgerLine(
        kind=KIND,
        quick_test_id=quick_test_id,
        state="gone",
        attempts=LOOKS + thoughts,
        next_try_at=now + _FIRST_SECOND_THOUGHT * (1 << min(thoughts, 20)),
        updated_at=since or now,
    )


def to_seen_line(quick_test_id: int, *, now: datetime) -> LedgerLine:
    """Returns the line of a job that was missed, and is there."""
    return LedgerLine(kind=KIND, quick_test_id=quick_test_id, state="seen", attempts=0, updated_at=now)


def is_second_thought_due(line: LedgerLine, *, now: datetime) -> bool:
    """Returns True if a job that was called gone is to be looked for now.

    That is 1, 2, 4, ... minutes later, for two days.
    """
    if line.state != "gone" or now - line.updated_at > SECOND_THOUGHTS_FOR:
        return False
    return line.next_try_at is None or line.next_try_at <= now
