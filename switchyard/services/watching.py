"""Watching one job until there is news of it: one look after another, outlasting a launcher that is away for a while.

Many looks in one call, for a task run a look would cost Prefect's server more than the training's own loop.
"""

import random
import time
from collections.abc import Callable

import msgspec

from switchyard.core.errors import TryAgain
from switchyard.core.ports import Launcher
from switchyard.core.runs.jobs import JobReport
from switchyard.core.runs.pacing import Look, Pace, to_interval_s

PATIENCE_S = 600.0
"""A launcher may be silent for so long before waiting fails: longer than a restart or a rolled back release takes."""


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How to watch: `look`, at this pace, whatever its interval says."""

    pace: Pace
    look: Look


def watch(
    launcher: Launcher,
    job_name: str,
    seen: JobReport | None,
    how: Watch,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> JobReport | None:
    """The job as soon as its state is not `seen`'s; or its progress is not, after `hold_s`; or as it is after `for_s`.
    None: the launcher does not know it.

    Raises:
        TryAgain: the launcher has not answered for PATIENCE_S, or at the very end of `for_s`.
    """
    look, started = how.look, clock()
    answered = started
    while True:
        passed_s = clock() - started
        try:
            report = _look(launcher, job_name)
        except TryAgain as err:
            silent_s = clock() - answered
            if silent_s >= PATIENCE_S or passed_s >= look.for_s:
                raise TryAgain(
                    f"the launcher must say how {job_name} is; it has not for {silent_s:.0f} s: {err}. The job goes "
                    "on, and reconcile publishes its end"
                ) from err
        else:
            answered = clock()
            if report is None or seen is None or report.state is not seen.state or passed_s >= look.for_s:
                return report
            if passed_s >= look.hold_s and report.progress != seen.progress:
                return report
        left_s = max(0.0, look.for_s - passed_s)
        sleep(min(left_s, to_interval_s(how.pace, look.waited_s + passed_s, chance())))


def _look(launcher: Launcher, job_name: str) -> JobReport | None:
    report = launcher.report([job_name]).get(job_name)
    if report is not None and report.problem:
        raise TryAgain(report.problem)
    return report
