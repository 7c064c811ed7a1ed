"""The end of a run's log, for a run that did not complete.

If the log is on this machine, its last lines; otherwise where to look.
"""

from typing import Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.clients.launchers.local.job_log import read_end
from switchyard.core.runs.rows import QuickTest, RunStatus

_LINES: Final = 40
_WITHOUT_LOG: Final = (RunStatus.COMPLETED, RunStatus.PENDING, RunStatus.SUBMITTED, RunStatus.RUNNING)


class LogEnd(msgspec.Struct, frozen=True):
    """The last lines of a job's log, or where to find it."""

    lines: str = ""
    url: str = ""  # of Google's console
    uri: str = ""  # where neither is: on the machine that trained, perhaps


def read_log_end(outside: Outside, run: QuickTest) -> LogEnd | None:
    """Reads the end of the log of a run that ended without completing; None for other runs, or if no job is known."""
    if run.status in _WITHOUT_LOG:
        return None
    job = outside.jobs.read_job(run.id)
    if job is None or not job.log_uri:
        return None
    if job.log_uri.startswith("https://"):
        return LogEnd(url=job.log_uri)
    return LogEnd(lines=read_end(job.log_uri, outside.settings.state_dir, lines=_LINES), uri=job.log_uri)
