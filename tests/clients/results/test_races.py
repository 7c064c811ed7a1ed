"""Several processes at once, and one that is killed: nothing doubled, nothing half written."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.results.tables import SCHEMA
from switchyard.core.history.publication import PublishResult
from switchyard.core.runs.jobs import JobState, Reason
from switchyard.core.runs.rows import JobNews, RunStatus
from tests.clients.results.places import NOW, Place, Places, publication, run_sql
from tests.clients.results.process import Processes, open_processes
from tests.postgres import Postgres

STATEMENTS_OF_A_PUBLISH = 10
"""At least; after the last of them nothing is left but the commit."""


@pytest.fixture(params=["sqlite", "postgres with a jsonb table"])
def place(request: pytest.FixtureRequest, places: Places, tmp_path: Path) -> Place:
    """Both databases and both owners of the table; a process takes too long to start for all five kinds."""
    return places.make(request.param, tmp_path)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with open_processes() as opened:
        yield opened


def run_together(processes: Processes, act: str, *parties: dict[str, Any]) -> list[str]:
    """What each of them printed."""
    ended = processes.run(act, *parties)
    assert [one.returncode for one in ended] == [0] * len(parties)
    return [one.said for one in ended]


def test_two_claims_at_once_make_one_job(place: Place, processes: Processes) -> None:
    """Whatever the requests: one job is claimed, the other request is refused or finds it."""
    run, other = place.add_run("1"), place.add_run("2")
    at = {"url": place.url, "table": place.table}
    mine, yours, same, again = run_together(
        processes,
        "claim",
        {**at, "run": run, "request_key": "mine"},
        {**at, "run": run, "request_key": "yours"},
        {**at, "run": other, "request_key": "same"},
        {**at, "run": other, "request_key": "same"},
    )
    assert [mine, yours].count("BadRequest") == 1
    assert same == again
    assert [row.attempt for row in place.sql("SELECT attempt FROM switchyard_jobs ORDER BY quick_test_id")] == [1, 1]


def test_a_refused_request_that_comes_twice_at_once_makes_one_job(place: Place, processes: Processes) -> None:
    """Both send it again after the permission was granted: one claims the next attempt, the other finds it."""
    run = place.add_run()
    refused = place.claim(run, "same")
    place.jobs.record_job(refused.key, JobNews(state=JobState.FAILED, reason=Reason.REFUSED), now=NOW)
    place.runs.end_run(run, RunStatus.FAILED, error="403", now=NOW)
    party = {"url": place.url, "table": place.table, "run": run, "request_key": "same"}
    one, other = run_together(processes, "claim", party, party)
    assert one == other != refused.key
    assert [row.attempt for row in place.sql("SELECT attempt FROM switchyard_jobs ORDER BY attempt")] == [1, 2]


def test_two_publishes_at_once_leave_the_newer_whole(place: Place, processes: Processes) -> None:
    """History, digests and histograms are all of one publication."""
    run = place.add_run()
    at = {"url": place.url, "table": place.table, "run": run}
    said = run_together(processes, "publish", *({**at, "charted": f"c{n}", "attempt": n} for n in (1, 2, 3)))
    assert said[2] == "published"
    assert set(said[:2]) <= {"published", "kept newer"}
    assert_whole(place, run, "c3")


def test_publish_is_killed_between_its_statements(place: Place, processes: Processes) -> None:
    """Before its end nothing of it is seen, and the next publish has its way."""
    run = place.add_run()
    place.histories.publish(publication(run, "old"), now=NOW)
    new = {"url": place.url, "table": place.table, "run": run, "charted": "new", "attempt": 2}
    for die_after in range(1, STATEMENTS_OF_A_PUBLISH + 1):
        (ended,) = processes.run("publish", {**new, "die_after": die_after})
        assert ended.returncode == -signal.SIGKILL
        assert_whole(place, run, "old")
        assert place.runs.read_run(run).status == "pending"
    assert run_together(processes, "publish", new) == [PublishResult.PUBLISHED]
    assert_whole(place, run, "new")


def assert_whole(place: Place, run: int, charted: str) -> None:
    stored = place.open().histories.read_history(run).history_json
    assert stored is not None
    assert json.loads(stored)["digest"]["charted"] == f"sha256:{charted}"
    assert [row.charted_digest for row in place.sql("SELECT charted_digest FROM switchyard_published")] == [
        f"sha256:{charted}"
    ]
    assert place.histories.read_histogram(run, "gradients", "query") == f"{charted} gradients query".encode()


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_migrations_at_once_make_one_schema(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest, processes: Processes
) -> None:
    """All succeed, one of them having made the tables; there is one database id."""
    if backend == "sqlite":
        url = f"sqlite:///{tmp_path / 'new' / 'results.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.make_database())
    said = run_together(processes, "make_schema", *[{"url": url, "table": ""}] * 4)
    assert sorted(f"none -> {SCHEMA}" in line for line in said) == [False, False, False, True]
    assert sorted("already" in line for line in said) == [False, True, True, True]
    assert len(run_sql(url, "SELECT id FROM switchyard_database")) == 1
