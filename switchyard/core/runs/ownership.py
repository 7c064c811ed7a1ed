"""Whether a metrics file, or an MLflow run, belongs to the run and the job that it is read for."""

from collections.abc import Mapping
from typing import Final

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.record import MAX_ATTEMPT, RunIdentity
from switchyard.core.runs.rows import Job

_TAG_PREFIX: Final = "switchyard."
_NUMBERS: Final = ("quick_test_id", "attempt", "restart")
_DIGITS: Final = 18  # of the largest integer that every database takes


def to_tags(identity: RunIdentity) -> dict[str, str]:
    """Returns the tags by which an MLflow run tells which run it is, as a metrics file does in `run`."""
    return {f"{_TAG_PREFIX}{name}": str(getattr(identity, name)) for name in ("key", *_NUMBERS)}


def from_tags(tags: Mapping[str, str]) -> RunIdentity | None:
    """Returns the identity that `to_tags` wrote.

    None: tags are missing, or are not ours: others logged the run.
    """
    key, *texts = (tags.get(f"{_TAG_PREFIX}{name}", "") for name in ("key", *_NUMBERS))
    if not key or not all(text.isascii() and text.isdigit() and len(text) <= _DIGITS for text in texts):
        return None
    quick_test_id, attempt, restart = map(int, texts)
    if max(attempt, restart) > MAX_ATTEMPT:
        return None
    return RunIdentity(quick_test_id=quick_test_id, key=key, attempt=attempt, restart=restart)


def is_of_job(identity: RunIdentity | None, quick_test_id: int, job: Job | None, *, where: str) -> bool:
    """Returns True for the metrics of this run's newest job, and False for those of an earlier attempt.

    Metrics without an identity (a file of version 0, an MLflow run that others logged) cannot be told apart and are
    taken as the run's.

    Raises:
        BadRecord: they are another run's.
    """
    if identity is None:
        return True
    problems = []
    if identity.quick_test_id != quick_test_id:
        problems.append(f"`run.quick_test_id` must be {quick_test_id}; got {identity.quick_test_id}")
    earlier = job is not None and identity.attempt < job.attempt
    if job is not None and not earlier and identity.key != job.key:
        problems.append(
            f"`run.key` must be {job.key!r}, the key of attempt {job.attempt}; "
            f"got {identity.key!r} of attempt {identity.attempt}"
        )
    if problems:
        raise BadRecord(where, [*problems, "it is another run's: nothing of it was published"])
    return not earlier
