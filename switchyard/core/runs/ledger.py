"""What became of one run in one kind of work."""

from datetime import datetime

import msgspec


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run in one kind of work, and when to try again.

    Kinds: ``repair``, ``backfill``, ``parent``, ``fill``, ``verify``, ``missing``, ``live``, ``artifacts``;
    ``reconcile`` has one line for all runs (`switchyard.core.runs.pulse`).

    Lines of a kind ``verify/<...>`` (`switchyard.core.verify.batches`) hold the manifest's line of that run, as JSON in
    `error`, until its manifest is written. Those of the kinds ``store/<...>`` and ``unadopted/<...>`` are of no run
    (`switchyard.core.backfill.following`).
    """

    kind: str
    quick_test_id: int
    # done | failed; of `backfill` also filed (done, and its metrics file written), skipped and stale; of `parent`
    # unknown; of `fill` one of switchyard.core.history.filling.FillState; of `verify` one of
    # switchyard.core.verify.findings.State; of `missing` missing, gone or seen (switchyard.core.runs.missing); of
    # `live` seen, failed or watched (switchyard.core.runs.live); of `artifacts` one of
    # switchyard.core.artifacts.copies.RunCopied
    state: str
    attempts: int
    error: str = ""
    source_digest: str = ""
    published_digest: str = ""
    next_try_at: datetime | None = None
    updated_at: datetime
