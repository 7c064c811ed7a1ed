"""Polls the training jobs, as the launcher sees them now."""

from datetime import datetime
from functools import partial

import msgspec
from prefect import get_run_logger

from switchyard.clients.connect import connect
from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.live import LiveState
from switchyard.core.runs.missing import Missing
from switchyard.core.runs.pacing import ON_THIS_MACHINE, ON_VERTEX, Look, Pace
from switchyard.core.runs.rows import Job
from switchyard.services import live as living
from switchyard.services.live import LiveTurn, Snapshots
from switchyard.services.watching import Watch, look_for, watch
from tasks.policy import effect


@effect
def find_job(job: Job, by_name: bool = True, by_key: bool = True) -> JobReport | None:
    """Finds the job as its launcher shows it now, by its name, else by its key; None: this look does not show it."""
    return look_for(connect().launcher, job, by_name=by_name, by_key=by_key)


class Watched(msgspec.Struct, frozen=True):
    """What a flow that waits for a job knows after a while of watching."""

    job: JobReport | Missing
    live: LiveState


@partial(effect, retries=0)  # a launcher that is away is outlasted within: tried again, it would be six times as long
def watch_job(job: Job, seen: JobReport | None, look: Look, live: LiveState) -> Watched:
    """Returns the job as soon as there is news of it, or as it is after `look.for_s` seconds.

    Missing: many looks in a minute did not show it. Meanwhile what it has trained so far is published; a failure of
    that is only reported.
    """
    outside = connect()
    pace = Pace(floor_s=look.interval_s, cap_s=look.interval_s)
    if not look.interval_s:
        pace = ON_VERTEX if outside.settings.training_backend == "vertex" else ON_THIS_MACHINE
    # Not a task of its own: one every ten seconds would cost Prefect's server more than the training's own loop.
    snapshots = Snapshots(outside, job, live, say=get_run_logger().warning)
    meanwhile = snapshots.look if outside.settings.publishes_live else None
    found = watch(outside.launcher, job, seen, Watch(pace=pace, look=look), meanwhile=meanwhile)
    return Watched(found, snapshots.state)


@partial(effect, retries=0)  # what fails waits for the next turn
def publish_unwatched(jobs: list[Job]) -> LiveTurn:
    """Publishes what these jobs have trained so far, those first that were not looked at for the longest time.

    It does nothing if that is switched off.
    """
    outside = connect()
    return living.publish_unwatched(outside, jobs) if outside.settings.publishes_live else LiveTurn(left=len(jobs))


@effect
def list_jobs(since: datetime) -> list[JobReport]:
    """Lists this database's jobs, in any state, created at or after `since`; one call."""
    outside = connect()
    return outside.launcher.list({"switchyard-db": outside.runs.read_database_id()}, since)


@effect
def cancel_job(job_name: str) -> None:
    """Asks the job to end."""
    connect().launcher.cancel(job_name)
