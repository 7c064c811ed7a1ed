"""Watches one job until there is news of it, one look after another, even while its launcher is away for a time.

One call makes many looks: a task run for each look would cost Prefect's server more than the training's own loop.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from switchyard.core.errors import BadSetup, TryAgain
from switchyard.core.ports import Launcher
from switchyard.core.runs.jobs import KEY_LABEL, JobReport, JobState
from switchyard.core.runs.missing import Missing, is_gone
from switchyard.core.runs.pacing import Look, Pace, to_interval_s
from switchyard.core.runs.rows import Job
from switchyard.core.runs.walk import choose_job

PATIENCE_S = 600.0
"""How long a launcher may be silent before waiting fails: longer than a restart or a rolled back release takes."""
_SHORTEST_S = 0.05
CLOCKS = timedelta(minutes=1)
"""The largest difference of clocks: a job is created after its claim, but perhaps not by its launcher's clock."""


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How to watch: `look`, at this pace, whatever its interval says."""

    pace: Pace
    look: Look


def look_for(launcher: Launcher, job: Job, *, by_name: bool = True, by_key: bool = True) -> JobReport | None:
    """Returns the job as its launcher shows it, by its name, else by its key; None: neither shows it.

    The report has a `problem` where the job can be told neither to be there nor to be gone."""
    if job.job_name and by_name:
        report = launcher.report([job.job_name]).get(job.job_name)
        if report is not None:
            return report
    if not by_key:
        return None
    listed = launcher.list({KEY_LABEL: job.key}, job.claimed_at - CLOCKS, beside=job.job_name)
    return choose_job(listed)[0] if listed else None


class _InVain:
    """Counts looks in a row that did not answer what was asked, and since when."""

    def __init__(self) -> None:
        self._looks = 0
        self._since_s = 0.0

    def add(self, now_s: float) -> None:
        self._since_s = self._since_s if self._looks else now_s
        self._looks += 1

    def forget(self) -> None:
        self._looks = 0

    def to_gone(self, now_s: float) -> Missing | None:
        """Returns None until they are enough, by reconcile's measure. Reconcile only has the time of day."""
        now = datetime.now(UTC)
        missing = Missing(looks=self._looks, since=now - timedelta(seconds=now_s - self._since_s))
        return missing if is_gone(missing, now=now) else None


def watch(
    launcher: Launcher,
    job: Job,
    seen: JobReport | None,
    how: Watch,
    *,
    meanwhile: Callable[[], float] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> JobReport | Missing:
    """Returns the job as soon as its state is not `seen`'s; or its progress is not, after `hold_s`; or after `for_s`.

    Missing: it is gone, by `core.runs.missing.is_gone`. A single look that does not show it, or is refused (401, 403),
    is no news. `meanwhile` is called between two looks while the job is at work, and again after as many seconds as it
    returns. It raises nothing.

    Raises:
        TryAgain: the launcher has not answered for PATIENCE_S, or at the very end of `for_s`.
        BadSetup: it has refused as many looks in a row, for as long, as would make a missing job gone.
    """
    look, started = how.look, clock()
    answered = started
    missed, refused = _InVain(), _InVain()
    state = seen.state if seen is not None else job.state
    while True:
        passed_s = clock() - started
        is_last = passed_s >= look.for_s
        try:
            report = _look(launcher, job)
        except BadSetup:
            refused.add(clock())
            if is_last or refused.to_gone(clock()):
                raise
        except TryAgain as err:
            silent_s = clock() - answered
            if silent_s >= PATIENCE_S or is_last:
                raise TryAgain(
                    f"the launcher has not said how {job.job_name} is for {silent_s:.0f} s: {err}. The job "
                    "goes on, and reconcile publishes its end"
                ) from err
        else:
            answered = clock()
            refused.forget()
            if report is not None:
                missed.forget()
                state = report.state
                if is_last or _is_news(report, seen, is_held=passed_s < look.hold_s):
                    return report
            else:
                missed.add(answered)
                if (gone := missed.to_gone(answered)) is not None:
                    return gone
                if is_last:
                    raise TryAgain(
                        f"the launcher does not show {job.job_name}, which may be an odd answer. If the job is there "
                        "it goes on, and reconcile publishes its end"
                    )
        left_s = max(0.0, look.for_s - passed_s)
        pause_s = min(left_s, to_interval_s(how.pace, look.waited_s + passed_s, chance()))
        _pause(pause_s, meanwhile if state is JobState.RUNNING else None, sleep, clock)


def _pause(
    for_s: float, meanwhile: Callable[[], float] | None, sleep: Callable[[float], None], clock: Callable[[], float]
) -> None:
    """Sleeps for so long, less the time that `meanwhile` takes."""
    until_s = clock() + for_s
    while meanwhile is not None:
        due_s = max(_SHORTEST_S, meanwhile())
        for_s = until_s - clock()
        if for_s <= due_s:
            break
        sleep(due_s)
    sleep(max(0.0, for_s))


def _look(launcher: Launcher, job: Job) -> JobReport | None:
    report = look_for(launcher, job)
    if report is not None and report.problem:
        raise TryAgain(report.problem)
    return report


def _is_news(report: JobReport, seen: JobReport | None, *, is_held: bool) -> bool:
    if seen is None or report.state is not seen.state:
        return True
    return not is_held and report.progress != seen.progress
