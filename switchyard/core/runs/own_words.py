"""What a training wrote last, where it still could: why it failed, and its params where no other file has them."""

from typing import Any, Final

import msgspec

from switchyard.core.errors import catch
from switchyard.core.runs.rows import Job

MAX_ENDED_BYTES: Final = 1024 * 1024
"""The most bytes of an ``ended.json``: some hundred are usual, and a training without a metrics file adds its
params."""
_SHOWN: Final = 2_000


class _Run(msgspec.Struct):
    key: str = ""


class _Ended(msgspec.Struct):
    status: str = ""
    message: str = ""
    run: _Run = msgspec.field(default_factory=_Run)
    params: dict[str, Any] | None = None


def read_own_words(ended: bytes, job: Job) -> str:
    """Returns why the training of `job` failed, as its ``ended.json`` says; empty: it does not say.

    That is so if the file is another job's, says nothing of a failure, or cannot be read. It only makes a message
    better, so nothing is raised.
    """
    found = catch(lambda: msgspec.json.decode(ended, type=_Ended))
    if isinstance(found, Exception) or found.status != "failed" or found.run.key != job.key:
        return ""
    return found.message.strip()[:_SHOWN]


def read_ended_params(ended: bytes) -> dict[str, Any]:
    """Returns the params of a training that wrote no file of metrics; empty if it says none, or cannot be read."""
    found = catch(lambda: msgspec.json.decode(ended, type=_Ended))
    return {} if isinstance(found, Exception) else found.params or {}


def to_end_error(error: str, job: Job, own_words: str) -> str:
    """Returns what a run's row says of an end without success.

    First why, then what the launcher saw, what became of the files, and where the log is.

    >>> from datetime import UTC, datetime
    >>> from switchyard.core.runs.jobs import JobState
    >>> now = datetime(2026, 1, 15, tzinfo=UTC)
    >>> job = Job(quick_test_id=1, attempt=1, key="k", request_key="r", state=JobState.FAILED, claimed_at=now,
    ...     reason="the training process exited: no column customer_id; exit status 1")
    >>> to_end_error("nothing is published", job, "no column customer_id")
    'no column customer_id; the training process exited: exit status 1; nothing is published'
    """
    reason = job.reason
    if own_words:
        # A launcher that has the log at hand says the same words: ours since they come first, and older jobs' before.
        reason = reason.replace(f"{own_words}; ", "", 1).removesuffix(f"; its log ends: {own_words}")
    log = f"its log: {job.log_uri}" if job.log_uri else ""
    return "; ".join(filter(None, (own_words, reason, error, log)))
