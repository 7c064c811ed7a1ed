"""What a run left behind, and what of it must not be: more than one job, another history, anything that is stuck."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from switchyard.clients.results.open import ResultsPorts
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import RunStatus
from tests.faults.neighbours import NEIGHBOUR_ID

RUN_ID = 1
"""Each try has a database of its own, and one run; some have a neighbour, which is checked by itself."""


class JobSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A job as Vertex AI has it."""

    name: str
    key: str
    state: str  # of google's JobState, in lower case: succeeded, cancelled, running, ...


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """All that one run left, wherever it is kept."""

    jobs: list[JobSeen]
    runs: int = 0  # rows
    status: str = ""
    job_name: str = ""  # on our row
    job_state: str = ""
    is_announced: bool = False
    unsettled: int = 0  # rows that reconcile would look at
    history: str = ""  # as published, without the time
    histograms: dict[str, bytes] = {}
    files: dict[str, Any] = {}  # below the run's folder, without times and attempts
    events: int = 0  # how often the job's end was told


class Violations(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, in words; nothing is empty."""

    jobs: list[str] = []
    history: list[str] = []
    stuck: list[str] = []

    def __iter__(self) -> Any:
        return iter([*self.jobs, *self.history, *self.stuck])


def read_left(results: ResultsPorts, jobs: list[JobSeen], files: dict[str, bytes], *, events: int) -> Left:
    """What there is now; `files` by their names below the run's folder."""
    runs = [run for run in results.runs.list_runs(limit=10) if run.id != NEIGHBOUR_ID]
    if not runs:
        return Left(jobs=jobs, events=events)
    run, job = results.runs.read_run(RUN_ID), results.jobs.read_job(RUN_ID)
    neighbour = results.jobs.read_job(NEIGHBOUR_ID)
    stored = results.histories.read_history(RUN_ID).history_json or b""
    return Left(
        jobs=jobs,
        runs=len(runs),
        status=run.status,
        job_name=job.job_name if job else "",
        job_state=job.state if job else "",
        is_announced=job is not None and job.ended_event_at is not None,
        unsettled=sum(
            run.quick_test.id != NEIGHBOUR_ID for run in results.ledger.list_unsettled(now=datetime.now(UTC), limit=10)
        ),
        history=re.sub(r'"cached_at":"[^"]*"', '"cached_at":""', stored.decode()),
        histograms={
            f"{kind}/{tower}": found
            for kind in ("weights", "gradients")
            for tower in ("query", "candidate")
            if (found := results.histories.read_histogram(RUN_ID, kind, tower)) is not None
        },
        files={name: _without_times(name, data) for name, data in files.items()},
        events=events - (neighbour is not None and neighbour.ended_event_at is not None),
    )


def find_violations(left: Left, plain: Left, *, late: list[str]) -> Violations:
    """What of `left` is wrong; `plain` is what a run left that nothing was done to.

    `late` is what was not done by its deadline.
    """
    return Violations(jobs=_check_jobs(left), history=_check_history(left, plain), stuck=[*late, *_check_ends(left)])


def _check_jobs(left: Left) -> list[str]:
    kept = [job for job in left.jobs if job.state != "cancelled"]
    problems = []
    if len({job.key for job in left.jobs}) != 1:
        problems.append(f"jobs of one key; got {left.jobs}")
    if len(kept) != 1:
        problems.append(f"one job that was not cancelled; got {left.jobs}")
    elif kept[0].name != left.job_name:
        problems.append(f"the row must name {kept[0].name}; got {left.job_name!r}")
    if left.runs != 1:
        problems.append(f"one row; got {left.runs}")
    return problems


def _check_history(left: Left, plain: Left) -> list[str]:
    problems = []
    if not left.history or left.history != plain.history:
        problems.append(f"the history of the uninterrupted run; got {left.history or 'none'}")
    if left.histograms != plain.histograms:
        problems.append(f"the histograms of the uninterrupted run; got {sorted(left.histograms)}")
    other = {name for name in left.files | plain.files if left.files.get(name) != plain.files.get(name)}
    if other:
        problems.append(f"the files of the uninterrupted run; other or missing: {sorted(other)}")
    if left.events > 1:
        problems.append(f"one event at most; got {left.events}")
    return problems


def _check_ends(left: Left) -> list[str]:
    found = (left.status, left.job_state, left.is_announced, left.unsettled)
    problems = [f"{job.name} is {job.state}" for job in left.jobs if job.state not in ("succeeded", "cancelled")]
    if found != (RunStatus.COMPLETED, JobState.SUCCEEDED, True, 0):
        problems.append(f"a completed row, its job succeeded and announced, nothing to repair; got {found}")
    return problems


def _without_times(name: str, data: bytes) -> Any:
    if not name.endswith(".json"):
        return data
    record: dict[str, Any] = msgspec.json.decode(data)
    return {field: value for field, value in record.items() if field not in ("run", "saved_at", "ended_at")}
