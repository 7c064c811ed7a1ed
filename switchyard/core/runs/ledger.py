"""What became of one run in one kind of work."""

from datetime import datetime

import msgspec


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run in one kind of work (``repair``, ``backfill``, ``verify``), and when to try again."""

    kind: str
    quick_test_id: int
    # done | failed; of `backfill` also filed (done, and its metrics file written) and skipped; of `verify` one of
    # switchyard.core.verify.manifest.State
    state: str
    attempts: int
    error: str = ""
    source_digest: str = ""
    published_digest: str = ""
    next_try_at: datetime | None = None
    updated_at: datetime
