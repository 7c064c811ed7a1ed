"""How the work stands as a whole, for those who watch over it."""

from datetime import datetime
from typing import Final

import msgspec

from switchyard.core.runs.ledger import LedgerLine

KIND: Final = "reconcile"
"""The kind of the ledger's one line that says when reconcile last came to the end of a turn."""
_NO_RUN: Final = 0


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """A few numbers of all runs."""

    runs_by_status: dict[str, int] = {}  # as stored; an application's own table may have statuses of its own
    oldest_unsettled_at: datetime | None = None  # when the oldest job without a published end was claimed
    reconciled_at: datetime | None = None  # when reconcile last came to the end of a turn; None: never


def to_turn_line(*, failed: int, now: datetime) -> LedgerLine:
    """Returns the line that a turn of reconcile leaves at its end.

    `failed` runs could not be repaired, and each has its own line.
    """
    error = f"{failed} could not be repaired or looked after; see the lines of kind repair" if failed else ""
    return LedgerLine(
        kind=KIND,
        quick_test_id=_NO_RUN,
        state="failed" if failed else "done",
        attempts=0,
        error=error,
        updated_at=now,
    )
