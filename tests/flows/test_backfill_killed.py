"""Killed with SIGKILL at any point and run again, a backfill ends as one that nothing happened to."""

import itertools
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from prefect.settings import PREFECT_API_URL

from tests.flows.backfill_world import Maker, Results, list_run_ids, make_source
from tests.flows.killed_backfill import Answer, Turn
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]

pytestmark = pytest.mark.usefixtures("prefect_server")

WHOLE: dict[str, Any] = {"histograms": True, "full": True}
SEED = int(os.environ.get("KILL_SEED", "20260115"))
FEW = 12
MANY = 200
KILLS = {"sqlite": 35, "postgres": 15}
KILLS_OF_TWO = 10
KILLS_OF_FOLLOW = {"sqlite": 30, "postgres": 15}
KILLS_IN_A_ROW = 3
"""At most this many of one database, before it is run to the end and compared."""


class Killer:
    """The process that runs backfills, and kills them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.killed_backfill"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT_LOGGING_LEVEL": "CRITICAL"},
        )

    def run(self, results: Results, parameters: dict[str, Any], **how: Any) -> Answer:
        environ = results.environ | {"MLFLOW_BACKEND_STORE_URI": self._source}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(msgspec.json.encode(Turn(environ=environ, parameters=parameters, **how)) + b"\n")
        self._process.stdin.flush()
        answer = msgspec.json.decode(self._process.stdout.readline(), type=Answer)
        assert 2 not in answer.exits, "a backfill died of what it should not"
        return answer

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)


@contextmanager
def open_killer(source: str) -> Iterator[Killer]:
    killer = Killer(source)
    try:
        yield killer
    finally:
        killer.close()


class World:
    """A source, what an uninterrupted backfill makes of it, and databases to kill others over."""

    def __init__(self, killer: Killer, maker: Maker, parameters: dict[str, Any], kind: str = "sqlite") -> None:
        self.killer = killer
        self.parameters = parameters
        self._maker = maker
        self.kind = kind
        results = self.make()
        self.plain = self.run(results)
        assert not self.plain.killed
        self.expected = results.read_all()
        kinds = Counter(name.split()[0].split("/")[0] for name in self.expected)
        lines = kinds["switchyard_ledger"] - 1  # which MLflow it is has a line, too
        assert lines == kinds["quick_tests"] > kinds["switchyard_published"] * 0.9 > 0
        if parameters.get("full"):
            assert kinds["artifacts"] == kinds["switchyard_published"]
            assert kinds["switchyard_histograms"] > kinds["switchyard_published"]

    def make(self) -> Results:
        return self._maker.make(self.kind)

    def run(self, results: Results, **how: Any) -> Answer:
        return self.killer.run(results, self.parameters, **how)

    def finish(self, results: Results) -> None:
        """One run to the end; then everything is as the uninterrupted one's."""
        answer = self.run(results)
        assert not answer.killed
        assert answer.exits == self.plain.exits
        found = results.read_all()
        assert sorted(found) == sorted(self.expected)
        assert [name for name in found if found[name] != self.expected[name]] == []


@pytest.fixture(scope="module")
def few(prefect_server: None, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A dozen runs in batches of four: files, histograms and histories."""
    source = make_source(postgres, runs=0)
    folder = tmp_path_factory.mktemp("few")
    with open_killer(source) as killer:
        yield World(killer, Maker(folder, postgres, list_run_ids(source)[:FEW]), WHOLE | {"batch_size": 4})


@pytest.mark.parametrize(
    "kill_before",
    [1, 2, 5, 6, 10, 15],
    ids=["any effect", "the second file", "the first commit", "the second batch", "the second commit", "the last one"],
)
def test_killed_before_a_named_effect_backfill_is_taken_up(few: World, kill_before: int) -> None:
    """Between a file and its publication, between two batches, before the last commit: the next one ends it alike."""
    results = few.make()
    answer = few.run(results, kill_before=kill_before)
    assert answer.killed
    assert answer.effects == kill_before - 1
    few.finish(results)


@pytest.fixture(scope="module")
def adopting(prefect_server: None, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The awkward runs, which no row knows."""
    folder = tmp_path_factory.mktemp("adopting")
    with open_killer(make_source(postgres, runs=0)) as killer:
        yield World(killer, Maker(folder, postgres, []), {"adopt": True, "status": "all", "batch_size": 10})


@pytest.mark.parametrize("kill_before", [2, 3, 4], ids=["the rows", "the first commit", "the second commit"])
def test_killed_while_it_adopts_backfill_makes_each_row_once(adopting: World, kill_before: int) -> None:
    """Before the rows are made, or with rows and nothing published: the next one finds them again."""
    results = adopting.make()
    assert adopting.run(results, kill_before=kill_before).killed
    adopting.finish(results)


def test_two_backfills_at_once_end_as_one(few: World) -> None:
    """Both read and write the same runs; neither fails, and nothing is there twice."""
    results = few.make()
    answer = few.run(results, processes=2)
    assert answer.exits == few.plain.exits * 2
    few.finish(results)


@pytest.fixture(scope="module")
def many(
    prefect_server: None, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Killer, Maker]]:
    """Two hundred runs and the 24 awkward ones."""
    source = make_source(postgres, runs=MANY)
    run_ids = list_run_ids(source)
    assert len(run_ids) >= MANY
    with open_killer(source) as killer:
        yield killer, Maker(tmp_path_factory.mktemp("many"), postgres, run_ids)


class Followed(World):
    """A source that has changed since each of the databases was filled from it.

    It has what a follow makes of a database that nothing happened to, and other databases to kill follows over.
    """

    def __init__(self, killer: Killer, maker: Maker, parameters: dict[str, Any], source: str, kind: str) -> None:
        self._filled = maker.make(kind)
        assert killer.run(self._filled, parameters).exits == [0]
        if kind == "sqlite":
            with closing(sqlite3.connect(self._filled.folder / "results.db")) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the process left without a word
        self.changed = change(source)
        super().__init__(killer, maker, parameters, kind)

    def make(self) -> Results:
        return self._maker.copy(self._filled)


def change(source: str) -> set[str]:
    """As people use MLflow: tags, params, late points, ends, deletions, and runs that are gone for good.

    The runs that are to be read again.
    """
    with psycopg.connect(source) as connection:
        found = connection.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' ORDER BY run_uuid")
        ids = [run_id for (run_id,) in found]
        tagged, logged, ended, deleted = (ids[start::5][:8] for start in range(4))
        cursor = connection.cursor()
        cursor.executemany("INSERT INTO tags VALUES ('seen', 'yes', %s)", [(run,) for run in tagged])
        cursor.executemany("INSERT INTO params VALUES ('late', '1', %s)", [(run,) for run in tagged[:4]])
        for table in ("metrics", "latest_metrics"):
            connection.execute(
                f"UPDATE {table} m SET value = value + 1 WHERE run_uuid = ANY(%s) AND key = 'loss' AND step = "
                "(SELECT max(step) FROM latest_metrics WHERE run_uuid = m.run_uuid AND key = 'loss')",
                (logged,),
            )
        connection.execute("UPDATE runs SET name = name || ' again' WHERE run_uuid = ANY(%s)", (ended,))
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ANY(%s)", (deleted,))
    return {*tagged, *logged, *ended, *deleted}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_killed_at_random_points_a_follow_ends_as_if_nothing_happened(
    prefect_server: None, postgres: Postgres, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, histories, what was replaced, marks, and which runs are deleted in MLflow."""
    source = make_source(postgres, runs=60)
    parameters = {"adopt": True, "status": "all", "histograms": True, "batch_size": 4}
    chance = random.Random(f"{SEED} follow {kind}")
    stages: Counter[str] = Counter()
    with open_killer(source) as killer:
        world = Followed(killer, Maker(tmp_path, postgres, list_run_ids(source)), parameters, source, kind)
        marked = [row for name, row in world.expected.items() if name.startswith("switchyard_followed ")]
        assert len(world.changed) > 20
        assert len(marked) > 60
        for turn in itertools.count():
            if stages.total() >= KILLS_OF_FOLLOW[kind]:
                break
            results = world.make()
            left_s = world.plain.seconds
            for _ in range(KILLS_IN_A_ROW):
                # By the effect, so that each is met however short it is; or by time, in the midst of one.
                how: dict[str, Any] = {"kill_before": chance.randint(1, world.plain.effects)}
                if turn % 2:
                    how = {"kill_after_s": chance.random() * left_s}
                answer = world.run(results, **how)
                if not answer.killed:
                    break
                stages[answer.stage] += 1
                left_s = max(left_s - answer.seconds, 0.05)
            world.finish(results)
    with capsys.disabled():
        shown = ", ".join(f"{stage} {count}" for stage, count in stages.most_common())
        print(f"\nseed {SEED}, follow, {kind}: {stages.total()} kills: {shown}")
    assert len(stages) > 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "processes", "kills"),
    [("sqlite", 1, KILLS["sqlite"]), ("postgres", 1, KILLS["postgres"]), ("sqlite", 2, KILLS_OF_TWO)],
    ids=["sqlite", "postgres", "two at once"],
)
def test_killed_at_random_points_backfill_ends_as_if_nothing_happened(
    many: tuple[Killer, Maker], kind: str, processes: int, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run by run, bit by bit: rows, histories, digests, histograms, ledger and files."""
    chance = random.Random(f"{SEED} {kind} {processes}")
    world = World(*many, WHOLE, kind)
    stages: Counter[str] = Counter()
    while stages.total() < kills:
        results = world.make()
        left_s = world.plain.seconds
        for _ in range(KILLS_IN_A_ROW):
            answer = world.run(results, kill_after_s=chance.random() * left_s, processes=processes)
            if not answer.killed:
                break
            stages[answer.stage] += 1
            left_s = max(left_s - answer.seconds, 0.05)
        world.finish(results)
    with capsys.disabled():
        shown = ", ".join(f"{stage} {count}" for stage, count in stages.most_common())
        print(f"\nseed {SEED}, {kind}, {processes} at once: {stages.total()} kills: {shown}")
    assert len(stages) > 1
