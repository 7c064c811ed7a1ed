"""A batch of past runs that is broken off, and taken up again or given up: each run keeps what it has."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.backfill.plan import How, Item
from switchyard.core.errors import TryAgain
from switchyard.core.mlflow.raw_run import Keys, LostRun, RawRun, TrackedRun
from switchyard.core.ports import Tracking
from switchyard.core.runs.rows import NewRun
from switchyard.services import backfill as backfilling
from switchyard.services.backfill import backfill_runs, fail_runs
from tests.core.mlflow.factories import make_run


class BreakingStore:
    """A store that goes away after so many runs; 0: it does not."""

    def __init__(self, breaks_after: int) -> None:
        self.breaks_after = breaks_after
        self.read: list[str] = []

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        return iter(())

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        for number, run_id in enumerate(run_ids):
            if self.breaks_after and number == self.breaks_after:
                raise TryAgain("MLflow is away")
            self.read.append(run_id)
            metrics = make_run(run_id=run_id).metrics
            yield make_run(
                {key: points for key, points in metrics.items() if key in keys} if keys else {}, run_id=run_id
            )

    def describe(self) -> str:
        return "a store that goes away"

    def close(self) -> None:
        pass


class World(Outside):
    """Real results, and a store that breaks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(read_settings({"STATE_DIR": str(folder)}))
        migrate(self.settings)
        self.store = BreakingStore(0)
        runs = [self.runs.create_run(NewRun(request_key=str(n)), now=datetime.now(UTC)) for n in range(6)]
        self.items = [Item(quick_test_id=run.id, mlflow_run_id=f"run{run.id}") for run in runs]

    @property
    def tracking(self) -> Tracking:
        return self.store


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(backfilling, "WHOLE_RUNS", 2)  # a transaction, so that a few runs make several
    return World(tmp_path)


def test_a_batch_taken_up_again_does_only_what_is_left(world: World) -> None:
    """What was committed before MLflow went away is neither read nor written again, and still counted."""
    how = How(since=datetime.now(UTC), histograms=True)
    world.store = BreakingStore(5)
    with pytest.raises(TryAgain, match="MLflow is away"):
        backfill_runs(world, world.items, how)
    settled = {line.quick_test_id for line in world.ledger.read_ledger("backfill")}
    assert settled == {1, 2, 3, 4}
    world.store = BreakingStore(0)
    result = backfill_runs(world, world.items, how, again=True)
    assert (world.store.read, result.published, result.failed) == (["run5", "run6"], 6, {})
    lines = world.ledger.read_ledger("backfill")
    assert [(line.state, line.attempts) for line in lines] == [("done", 1)] * 6


def test_a_batch_that_is_given_up_says_why_of_each_run_that_is_left(world: World) -> None:
    """Runs that are settled keep their line; a second call changes nothing."""
    how = How(since=datetime.now(UTC), histograms=True)
    world.store = BreakingStore(3)
    with pytest.raises(TryAgain):
        backfill_runs(world, world.items, how)
    for _ in range(2):
        result = fail_runs(world.ledger, world.items, how.since, "MLflow is away")
        assert (result.published, result.failed) == (2, dict.fromkeys((3, 4, 5, 6), "MLflow is away"))
    lines = world.ledger.read_ledger("backfill")
    assert [(line.state, line.attempts) for line in lines] == [("done", 1)] * 2 + [("failed", 1)] * 4


def test_a_run_that_nobody_thought_of_does_not_stop_the_others(world: World) -> None:
    """An error of the mapping itself is that run's line."""

    class Odd(BreakingStore):
        def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
            for run in super().read_runs(run_ids, keys=keys):
                assert isinstance(run, RawRun)
                if run.info.run_id == "run3":
                    run.params["odd"] = object()  # type: ignore[assignment]  # what no store says
                if run.info.run_id == "run4":
                    deep: Any = []
                    for _ in range(5_000):
                        deep = [deep]
                    run.params["odd"] = deep
                yield run

    world.store = Odd(0)
    result = backfill_runs(world, world.items, How(since=datetime.now(UTC)))
    assert (result.published, list(result.failed)) == (4, [3, 4])
    assert "MLflow run run3 cannot be mapped" in result.failed[3]
    assert "MLflow run run4 cannot be mapped: RecursionError" in result.failed[4]
