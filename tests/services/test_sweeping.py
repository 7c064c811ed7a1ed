"""Watching the jobs of trials: what is news, and that neither a silent launcher nor one odd look ends anything."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from switchyard.core.errors import BadSetup, SwitchyardError, TryAgain
from switchyard.core.runs.jobs import JobReport, JobState
from switchyard.core.runs.missing import LOOKS, Missing
from switchyard.core.runs.pacing import ON_THIS_MACHINE, ON_VERTEX, Look
from switchyard.core.runs.rows import Job
from switchyard.core.sweeps.watched import Watched
from switchyard.services.sweeping import TrialsWatch
from switchyard.services.watching import PATIENCE_S

NOW = datetime(2026, 1, 15, tzinfo=UTC)
RUNNING, SUCCEEDED = JobState.RUNNING, JobState.SUCCEEDED


def make_watched(name: str, **fields: Any) -> Watched:
    job = Job(
        quick_test_id=1, attempt=1, key=name, request_key=name, state=RUNNING, job_name=name, claimed_at=NOW, **fields
    )
    return Watched(job=job)


def make_report(name: str, state: JobState = RUNNING, problem: str = "") -> JobReport:
    return JobReport(job_name=name, key=name, state=state, created_at=NOW, problem=problem)


class World:
    """A launcher that shows these jobs, one look after another, and stays with the last.

    Its clock moves by sleeping alone.
    """

    def __init__(self, *looks: Sequence[JobReport] | SwitchyardError) -> None:
        self.looks = list(looks)
        self.asked: list[Sequence[str]] = []
        self.now_s = 0.0
        self.launcher = self
        self.settings = SimpleNamespace(publishes_live=False)

    def report(self, job_names: Sequence[str]) -> dict[str, JobReport]:
        self.asked.append(job_names)
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, SwitchyardError):
            raise found
        return {report.job_name: report for report in found}

    def list(self, labels: Mapping[str, str], since: datetime, *, beside: str = "") -> list[JobReport]:
        return []

    def watch(self, *watched: Watched, for_s: float = 60.0, pace: Any = ON_THIS_MACHINE) -> Sequence[Watched]:
        outside: Any = self

        def sleep(for_s: float) -> None:
            self.now_s += for_s

        made = TrialsWatch(outside, metric="", say=lambda _: None, sleep=sleep, clock=lambda: self.now_s)
        return made.watch(watched, pace, Look(for_s=for_s))


def test_all_jobs_are_asked_for_in_one_call_until_one_has_news() -> None:
    """The others are told as they are."""
    both = [make_report("a"), make_report("b")]
    world = World(both, both, [make_report("a"), make_report("b", SUCCEEDED)])
    found = world.watch(make_watched("a"), make_watched("b"))
    assert [one.report.state for one in found if one.report] == [RUNNING, SUCCEEDED]
    assert world.asked == [["a", "b"]] * 3


def test_without_news_it_ends_in_time() -> None:
    world = World([make_report("a")])
    [found] = world.watch(make_watched("a"), for_s=60)
    assert found.report == make_report("a")
    assert 60 <= world.now_s < 61


def test_a_job_that_is_not_shown_once_is_no_news_and_is_seen_again() -> None:
    """One odd answer has ended healthy jobs that were paid for."""
    world = World([], [make_report("a")])
    [found] = world.watch(make_watched("a"), for_s=5)
    assert (found.report, found.missing) == (make_report("a"), None)


def test_a_job_that_is_not_shown_for_long_is_news_over_several_watches() -> None:
    """What the watch before did not see counts too."""
    long_ago = Missing(looks=LOOKS, since=datetime.now(UTC) - timedelta(minutes=5))
    world = World([])
    [found] = world.watch(msgspec.structs.replace(make_watched("a"), missing=long_ago))
    assert found.report is None
    assert found.missing is not None
    assert found.missing.since == long_ago.since
    assert len(world.asked) == 1
    [fresh] = world.watch(make_watched("a"), for_s=1)
    assert fresh.missing is not None
    assert world.now_s >= 1


def test_a_job_that_cannot_be_looked_at_is_neither_seen_nor_missed() -> None:
    [found] = World([make_report("a", problem="its folder may not be read")]).watch(make_watched("a"), for_s=5)
    assert (found.report, found.missing) == (None, None)


@pytest.mark.parametrize("error", [TryAgain("503"), BadSetup("403")])
def test_a_launcher_that_is_away_is_outlasted_and_then_told(error: SwitchyardError) -> None:
    """A refusal of some minutes too: permissions come back."""
    world = World(error, error, [make_report("a", SUCCEEDED)])
    [found] = world.watch(make_watched("a"), pace=ON_VERTEX)
    assert found.report is not None
    with pytest.raises(type(error)):
        World(error).watch(make_watched("a"), for_s=PATIENCE_S * 2, pace=ON_VERTEX)
