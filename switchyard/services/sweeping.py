"""Watches the jobs of a sweep's trials, all in one call, until there is news of one.

News is an end, a new epoch, or a job that no look shows.

It is one call for all, because a task run for each look and trial would cost Prefect's server more than the trainings'
own loops.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.core.errors import BadSetup, TryAgain
from switchyard.core.ports import Launcher
from switchyard.core.runs.jobs import JobReport, JobState
from switchyard.core.runs.missing import Missing, is_gone
from switchyard.core.runs.pacing import Look, Pace, to_interval_s
from switchyard.core.runs.rows import Job
from switchyard.core.sweeps.trials import Curve, read_curve
from switchyard.core.sweeps.watched import Watched
from switchyard.services.live import Snapshots
from switchyard.services.watching import PATIENCE_S, look_for

_SHORTEST_S: Final = 0.05


class TrialsWatch:
    """Looks at the jobs of trials.

    Args:
        metric: its curve is read from each new snapshot; empty: none is.
        say: takes what could not be published.
    """

    def __init__(
        self,
        outside: Outside,
        *,
        metric: str,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outside = outside
        self._metric = metric
        self._say = say
        self._sleep = sleep
        self._clock = clock

    def watch(self, watched: Sequence[Watched], pace: Pace, look: Look) -> list[Watched]:
        """Returns what is known of each job as soon as there is news of one, or after `look.for_s`.

        While they are at work, what they have trained so far is published; a failure of that is only reported.

        Raises:
            TryAgain, BadSetup: the launcher has not answered for `PATIENCE_S`; its last word.
        """
        started = answered = self._clock()
        known = [msgspec.structs.replace(one, report=None, curve=None) for one in watched]
        snapshots = [Snapshots(self._outside, one.job, one.live, say=self._say, clock=self._clock) for one in known]
        while True:
            try:
                reports = _look(self._outside.launcher, [one.job for one in known])
            except (BadSetup, TryAgain):
                # A refusal (401, 403) of a moment has ended healthy trainings too.
                if self._clock() - answered >= PATIENCE_S:
                    raise
            else:
                answered = self._clock()
                known = [_add(one, report) for one, report in zip(known, reports, strict=True)]
            known = [self._publish(one, taker) for one, taker in zip(known, snapshots, strict=True)]
            passed_s = self._clock() - started
            if passed_s >= look.for_s or any(map(_is_news, known)):
                return known
            self._sleep(max(_SHORTEST_S, self._to_pause_s(known, pace, look, passed_s)))

    def _publish(self, one: Watched, snapshots: Snapshots) -> Watched:
        state = one.report.state if one.report is not None else one.job.state
        if state is not JobState.RUNNING or not self._outside.settings.publishes_live:
            return one
        snapshots.look()
        if snapshots.state.generation == one.live.generation:
            return msgspec.structs.replace(one, live=snapshots.state)
        curve = self.read_curve(one.job.quick_test_id) if self._metric else None
        return msgspec.structs.replace(one, live=snapshots.state, curve=curve)

    def read_curve(self, quick_test_id: int) -> Curve:
        """Returns the metric's curve, as it is published by now; without a value if there is none."""
        stored = self._outside.histories.read_series(quick_test_id)
        return Curve() if stored is None else read_curve(stored.gzip_json, self._metric)

    def _to_pause_s(self, known: Iterable[Watched], pace: Pace, look: Look, passed_s: float) -> float:
        pause_s = min(look.for_s - passed_s, to_interval_s(pace, look.waited_s + passed_s, random.random()))
        if not self._outside.settings.publishes_live:
            return pause_s
        now_s = self._clock()
        return min([pause_s, *(one.live.next_s - now_s for one in known if one.live.next_s > now_s)])


def _look(launcher: Launcher, jobs: Sequence[Job]) -> list[JobReport | None]:
    """Looks at all by name in one call; a job that is not shown so is asked for by its key too."""
    found = launcher.report([job.job_name for job in jobs if job.job_name])
    return [found.get(job.job_name) or look_for(launcher, job, by_name=False) for job in jobs]


def _add(one: Watched, report: JobReport | None) -> Watched:
    if report is None:
        before = one.missing or Missing(looks=0, since=datetime.now(UTC))
        missing = Missing(looks=before.looks + 1, since=before.since)
        return msgspec.structs.replace(one, missing=missing, report=None)
    if report.problem:  # neither seen nor missed
        return one
    return msgspec.structs.replace(one, missing=None, report=report)


def _is_news(one: Watched) -> bool:
    if one.curve is not None:
        return True
    if one.report is not None:
        return (one.report.state, one.report.job_name) != (one.job.state, one.job.job_name)
    return one.missing is not None and is_gone(one.missing, now=datetime.now(UTC))
