"""Publishes what a training has written so far, while it goes on.

The flow that waits for the training does this; for other runs reconcile does. Neither a refused snapshot nor a
database that is away stops either of them.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.core.errors import BadRecord, BadRequest, NotFound, StaleWrite, catch, to_message
from switchyard.core.history.asked_sampling import to_sampling
from switchyard.core.history.live import to_live_publication
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MAX_FILE_BYTES
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.live import (
    KIND,
    LiveState,
    Looked,
    after_look,
    choose_jobs,
    to_generation,
    to_live_line,
)
from switchyard.core.runs.ownership import is_of_job
from switchyard.core.runs.rows import Job

TURN_S: Final = 30.0
"""How long reconcile's turn looks at snapshots. The next one goes on, so the ends of jobs do not wait."""
KEPT_FOR: Final = timedelta(days=1)
"""A ledger line that was not written for so long belongs to a run that has ended."""


class LiveTurn(msgspec.Struct, kw_only=True):
    """What one turn of reconcile did for runs that train."""

    published: list[int] = []
    failed: dict[int, str] = {}  # the error, as the ledger has it too
    left: int = 0  # runs for the next turns


class Snapshots:
    """Does what a waiting flow does between two looks at its job.

    Args:
        say: called with what could not be published, once for any number of failures in a row.
    """

    def __init__(
        self,
        outside: Outside,
        job: Job,
        state: LiveState,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = state
        self._clock = clock
        self._outside = outside
        self._job = job
        self._say = say
        self._uri = ""

    def look(self) -> float:
        """Publishes the newest snapshot, if it is time and there is a new one; returns the seconds until the next time.

        A second call finds nothing new. Raises nothing."""
        started_s = self._clock()
        if started_s < self.state.next_s:
            return self.state.next_s - started_s
        looked = catch(self._publish)
        if isinstance(looked, Exception):
            # Nothing was found out: a database or a store is away.
            looked = _to_failed(self.state.generation, looked)
        if looked.problem and not self.state.failures:
            self._say(
                f"Quick test {self._job.quick_test_id}: what it has trained so far is not published: {looked.problem}. "
                "The training goes on, and this is tried again"
            )
        ended_s = self._clock()
        self.state = after_look(self.state, looked, started_s=started_s, ended_s=ended_s)
        return max(0.0, self.state.next_s - ended_s)

    def _publish(self) -> Looked:
        self._uri = self._uri or find_uri(self._outside, self._job)
        looked = publish_snapshot(self._outside, self._job, self._uri, seen=self.state.generation)
        if looked.was_read and (looked.problem or self.state.is_line_due(self._clock())):
            line = to_live_line(self._job, looked, None, is_watched=True, now=datetime.now(UTC))
            self._outside.ledger.write_ledger(line)  # so reconcile leaves the run alone for a while
            self.state = msgspec.structs.replace(self.state, line_s=self._clock())
        return looked


def find_uri(outside: Outside, job: Job) -> str:
    """Returns where the run's metrics file is, or will be. Raises: NotFound: the run has no folder."""
    folder = outside.runs.read_run(job.quick_test_id).gcs_artifacts_path
    if not folder:
        raise NotFound(f"quick test {job.quick_test_id} has no gcs_artifacts_path")
    return f"{folder.rstrip('/')}/training_metrics.json"


def publish_snapshot(outside: Outside, job: Job, uri: str, *, seen: int) -> Looked:
    """Publishes the file at `uri` as the partial history of `job`'s run. The row keeps its status.

    Nothing is published if the file's generation is `seen`, or the file is an earlier attempt's. A second call finds
    nothing new, or publishes what is there already.

    A refused snapshot is a `problem` of its generation. Only the first of the same epochs is published: the next epoch,
    or the run's end, comes soon.

    Raises:
        TryAgain, BadSetup: the file, or the results database, cannot be asked now.
    """
    objects = outside.objects(uri)
    generation = seen
    try:
        generation = objects.stat(uri).generation
        if generation == seen:
            return Looked(generation=seen)
        data, generation = objects.read(uri, max_bytes=MAX_FILE_BYTES)
        published = _publish(outside, job, data, uri)
    except NotFound:
        return Looked(generation=seen)  # no epoch has ended yet
    except StaleWrite:
        published = False
    except (BadRecord, BadRequest) as err:
        return Looked(generation=generation, was_read=True, problem=str(err))
    return Looked(generation=generation, was_read=True, published=published)


def _publish(outside: Outside, job: Job, data: bytes, uri: str) -> bool:
    id_ = job.quick_test_id
    where = f"training_metrics.json of quick test {id_} ({uri})"
    record = read_record(data, where=where)
    if not is_of_job(record.run, id_, job, where=where) or not record.epochs:
        return False
    run = outside.runs.read_run(id_)
    if run.status.ended:
        return False  # someone ended the run while its job is at work: its last publish is not ours
    publication = to_live_publication(record, run=run, job=job, sampling=to_sampling(run, job))
    outside.histories.publish(publication, now=datetime.now(UTC))
    return True


def publish_unwatched(
    outside: Outside, jobs: Sequence[Job], *, clock: Callable[[], float] = time.monotonic
) -> LiveTurn:
    """Publishes snapshots of `jobs`, all at work: first of those that were not looked at for the longest time.

    A second call at once looks at others, or at none.

    Raises:
        TryAgain: the results database takes no ledger line, so there is no use in going on.
    """
    started_s, now = clock(), datetime.now(UTC)
    lines = {line.quick_test_id: line for line in outside.ledger.read_ledger(KIND)}
    if any(line.updated_at < now - KEPT_FOR for line in lines.values()):
        outside.ledger.clear_ledger(KIND, before=now - KEPT_FOR)
    chosen = choose_jobs(jobs, lines, now=now)
    turn = LiveTurn(left=len(jobs))
    for job in chosen:
        if clock() - started_s > TURN_S:
            break
        looked = _look(outside, job, lines.get(job.quick_test_id))
        turn.left -= 1
        if looked.published:
            turn.published.append(job.quick_test_id)
        if looked.problem:
            turn.failed[job.quick_test_id] = looked.problem
    return turn


def _look(outside: Outside, job: Job, line: LedgerLine | None) -> Looked:
    seen = to_generation(line)

    def publish() -> Looked:
        return publish_snapshot(outside, job, find_uri(outside, job), seen=seen)

    looked = catch(publish)
    if isinstance(looked, Exception):
        looked = _to_failed(seen, looked)
    outside.ledger.write_ledger(to_live_line(job, looked, line, is_watched=False, now=datetime.now(UTC)))
    return looked


def _to_failed(generation: int, err: Exception) -> Looked:
    return Looked(generation=generation, problem=to_message(err), is_passing=True)
