"""The faults of docs/reliability.md: its table is that of the code, and its checks can fail.

Some faults are tried here; all are by `make faults`.
"""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL

from tests.faults.cases import CASES, Case
from tests.faults.checking import JobSeen, Left, find_violations
from tests.faults.orders import Kill, Point
from tests.faults.table import read_rows

MIN_TRIES = 3


def test_the_page_has_a_row_for_every_fault_and_no_violation() -> None:
    """A new fault needs `make faults`, and a number that was written by hand is found out."""
    rows = read_rows()
    assert [(step, fault) for step, fault, *_ in rows] == [(case.step, case.fault) for case in CASES]
    assert len({(case.step, case.fault) for case in CASES}) == len(CASES)
    for _, fault, tried, *held, violations in rows:
        assert int(tried) >= MIN_TRIES, fault
        assert (held, violations) == ([f"{tried} of {tried}"] * 3, "0"), fault


def make_job(**changed: Any) -> JobSeen:
    return JobSeen(**{"name": "jobs/1", "key": "k", "state": "succeeded", **changed})


def make_left(**changed: Any) -> Left:
    good = {"jobs": [make_job()], "runs": 1, "status": "completed", "job_name": "jobs/1", "job_state": "succeeded"}
    good |= {"is_announced": True, "history": "{}", "histograms": {"weights/query": b"h"}, "files": {"model/a": b"m"}}
    return Left(**{**good, "events": 1, **changed})


SECOND = make_job(name="jobs/2")


@pytest.mark.parametrize(
    ("part", "planted"),
    [
        ("jobs", {"jobs": [make_job(), SECOND]}),
        ("jobs", {"jobs": [make_job(), msgspec.structs.replace(SECOND, state="running")]}),
        ("jobs", {"jobs": [make_job(), make_job(name="jobs/2", key="other", state="cancelled")]}),
        ("jobs", {"jobs": [make_job(state="cancelled"), SECOND]}),
        ("jobs", {"jobs": []}),
        ("jobs", {"runs": 2}),
        ("history", {"history": ""}),
        ("history", {"history": '{"epochs":[]}'}),
        ("history", {"histograms": {}}),
        ("history", {"files": {}}),
        ("history", {"files": {"model/a": b"m", "checkpoints/a": b"c"}}),
        ("history", {"files": {"model/a": b"n"}}),
        ("history", {"events": 2}),
        ("stuck", {"jobs": [make_job(state="running")]}),
        ("stuck", {"status": "running"}),
        ("stuck", {"job_state": "running"}),
        ("stuck", {"is_announced": False}),
        ("stuck", {"unsettled": 1}),
    ],
)
def test_a_planted_violation_is_found(part: str, planted: dict[str, Any]) -> None:
    """Each of the promises is seen to be broken where it is; without a plant nothing is found."""
    assert list(find_violations(make_left(), make_left(), late=[])) == []
    assert getattr(find_violations(make_left(**planted), make_left(), late=[]), part)
    assert find_violations(make_left(), make_left(), late=["a flow"]).stuck == ["a flow"]


def test_a_cancelled_double_is_no_violation() -> None:
    """Of two jobs that were created at once, the younger was cancelled."""
    left = make_left(jobs=[make_job(), msgspec.structs.replace(SECOND, state="cancelled")])
    assert list(find_violations(left, make_left(), late=[])) == []


class Tried(msgspec.Struct, frozen=True):
    """A site, and what an uninterrupted run leaves there."""

    site: Any
    plain: Left
    points: list[str]


@pytest.fixture(scope="module")
def tried(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    from tests.faults.site import open_site
    from tests.faults.trial import run_plain

    with open_site(tmp_path_factory.mktemp("faults") / "site", str(PREFECT_API_URL.value())) as site:
        yield Tried(site, *run_plain(site))


def test_the_kills_reach_everything_that_train_does(tried: Tried) -> None:
    """An uninterrupted train passes every point, and a kill falls before and after each."""
    assert set(tried.points) == set(get_args(Point))
    kills = {(case.kill.point, case.kill.after) for case in CASES if case.kill is not None}
    assert kills == {(point, after) for point in get_args(Point) for after in (False, True)}


QUICK = (
    "kill -9 of train after creating the job",
    "two flow runs at once, neither sees the other's create",
    "kill -9 of train before recording its end",
    "container killed before the complete metrics",
    "kill -9 of train after publishing",
    "410 to the second chunk of a large file, whose session is gone",
    "poisoned neighbour: parameters that hold NaN",
)


@pytest.mark.parametrize("fault", QUICK)
def test_a_fault_leaves_one_job_one_history_and_nothing_stuck(tried: Tried, fault: str) -> None:
    """Some of each step, tried for real."""
    from tests.faults.trial import Trial

    [case] = [case for case in CASES if case.fault == fault]
    trial = Trial(tried.site, "quick", case, QUICK.index(fault))
    assert list(trial.check(trial.run(), tried.plain)) == []


def test_a_run_that_nobody_takes_up_again_is_found_stuck(tried: Tried) -> None:
    """The check fails where recovery is left out; and where a fault was not hit."""
    from tests.faults.trial import Trial

    abandoned = Trial(tried.site, "abandoned", Case(step="submit", fault="-", kill=Kill(point="create the job")), 0)
    found = abandoned.check(abandoned.run(recover=False), tried.plain)
    assert found.jobs
    assert found.history
    assert found.stuck
    missed = Trial(tried.site, "missed", Case(step="submit", fault="-", kill=Kill(point="publish", nth=9)), 0)
    assert "the fault was not injected" in missed.check(missed.run(), tried.plain).stuck[0]
