"""Whether a metrics file belongs to the run and the job that it is read for."""

from history.errors import BadRecord
from history.record import RunIdentity
from history.runs import Job


def is_of_job(identity: RunIdentity | None, quick_test_id: int, job: Job | None, *, where: str) -> bool:
    """True for the file of this run's newest job; False for one that an earlier attempt of the same run left there.

    A file without an identity (version 0, or MLflow's) cannot be told apart and is taken as the run's.

    Raises:
        BadRecord: it is another run's file.
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
        raise BadRecord(where, [*problems, "it is another run's file: nothing of it was published"])
    return not earlier
