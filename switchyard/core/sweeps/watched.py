"""What a sweep knows of the jobs at work. It is a plain value, because it goes from one watch to the next."""

import msgspec

from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.live import LiveState
from switchyard.core.runs.missing import Missing
from switchyard.core.runs.rows import Job
from switchyard.core.sweeps.trials import Curve


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """One trial's job, and what the watch before knew of it."""

    job: Job
    live: LiveState = LiveState()
    missing: Missing | None = None  # looks in a row that did not show it; None: the last one did
    report: JobReport | None = None  # as the last look of this watch showed it; None: none did
    curve: Curve | None = None  # where this watch published more of it
