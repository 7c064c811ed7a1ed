"""A batch of past runs that is broken off, and taken up again or given up: each run keeps what it has."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.backfill.plan import NO_CURVE, How, Item
from switchyard.core.errors import NotFound, TryAgain
from switchyard.core.history.publication import Versions
from switchyard.core.mlflow.facts import Look, to_look
from switchyard.core.mlflow.marks import RunMark
from switchyard.core.mlflow.raw_run import Keys, LostRun, RawRun, TrackedRun
from switchyard.core.mlflow.store_identity import StoreIdentity
from switchyard.core.ports import Tracking
from switchyard.core.runs.rows import NewRun
from switchyard.services import backfill as backfilling
from switchyard.services.backfill import backfill_runs, count_shown, fail_runs
from tests.core.mlflow.factories import make_info, make_points, make_run, make_small


class BreakingStore:
    """A store that goes away after a number of runs; 0: it does not."""

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

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        return (to_look(run) for run in self.read_runs(run_ids) if isinstance(run, RawRun))

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        return iter(())

    def identify(self) -> StoreIdentity:
        return StoreIdentity()

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
        result = fail_runs(world.ledger, world.items, "MLflow is away")
        assert (result.published, result.failed) == (2, dict.fromkeys((3, 4, 5, 6), "MLflow is away"))
    lines = world.ledger.read_ledger("backfill")
    assert [(line.state, line.attempts) for line in lines] == [("done", 1)] * 2 + [("failed", 1)] * 4


def test_a_clock_that_is_set_back_within_a_flow_makes_nothing_twice(world: World) -> None:
    """The lines that the flow writes are then older than its beginning, and its own all the same."""
    how = How(since=datetime.now(UTC) + timedelta(hours=1), histograms=True)
    world.store = BreakingStore(5)
    with pytest.raises(TryAgain):
        backfill_runs(world, world.items, how)
    world.store = BreakingStore(0)
    assert backfill_runs(world, world.items, how, again=True).published == 6
    assert world.store.read == ["run5", "run6"]
    assert fail_runs(world.ledger, world.items, "no part has settled it").failed == {}
    assert world.ledger.count_tries("backfill") == 6


def test_lines_of_an_earlier_flow_whose_clock_was_ahead_settle_nothing(world: World) -> None:
    """They are newer than the flow's beginning, and say nothing of what it was to do."""
    backfill_runs(world, world.items, How(since=datetime.now(UTC), histograms=True))
    how = How(since=datetime.now(UTC) - timedelta(hours=1), histograms=True)
    items = [msgspec.structs.replace(item, attempts=row.ledger_attempts) for item, row in zip(
        world.items, world.ledger.list_backfill(), strict=True
    )]  # fmt: skip
    world.store = BreakingStore(0)
    assert backfill_runs(world, items[:3], how, again=True).settled == 3
    assert world.store.read == ["run1", "run2", "run3"]
    assert fail_runs(world.ledger, items, "MLflow is away").failed == dict.fromkeys((4, 5, 6), "MLflow is away")


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


class Little(BreakingStore):
    """Runs with less and less: curves, values, params alone, tags alone; and run6 is not there."""

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        for run_id in run_ids:
            run = make_small({}, info=make_info(run_id=run_id))
            if run_id in ("run1", "run2"):
                yield make_run(run_id=run_id)
            elif run_id == "run3":
                yield make_small({"final_rmse": make_points((0, 3.2))}, info=run.info)
            elif run_id == "run4":
                yield msgspec.structs.replace(run, params={"lr": "0.1"})
            elif run_id == "run5":
                yield msgspec.structs.replace(run, tags={"stage": "draft"})
            else:
                yield LostRun(run_id=run_id, error=NotFound(f"there is no run {run_id}"))


def test_params_and_last_values_are_published_of_a_run_without_curves(world: World) -> None:
    """What is published, the ledger, the result and a dry run before it say the same of each run."""
    world.store = Little(0)
    shown = count_shown(world, [item.mlflow_run_id for item in world.items])
    assert shown.sentence == "would publish 2 with curves, 2 with values alone, 1 have nothing, 1 are not in MLflow"
    how = How(since=datetime.now(UTC), histograms=True)
    result = backfill_runs(world, world.items, how)
    assert (result.published, result.values_alone) == (shown.curves + shown.values, shown.values)
    assert (list(result.skipped), list(result.failed)) == ([5], [6])
    lines = [(line.state, line.error) for line in world.ledger.read_ledger("backfill")]
    nothing = "MLflow run run5 (FINISHED) has no metric and no param: there is nothing to publish"
    assert lines[:5] == [("done", "")] * 2 + [("done", NO_CURVE)] * 2 + [("skipped", nothing)]
    histories = [msgspec.json.decode(world.histories.read_history(id_).history_json or b"{}") for id_ in (3, 4, 5)]
    assert histories[0]["final_metrics"] == {"final_rmse": 3.2}
    assert histories[1]["params"] == {"lr": "0.1"}
    assert [(history.get("available"), history.get("epochs")) for history in histories] == [(True, [])] * 2 + [
        (None, None)
    ]
    again = backfill_runs(world, world.items, how, again=True)
    assert (again.published, again.values_alone, list(again.skipped)) == (4, 2, [5])


def test_a_dry_run_that_cannot_ask_mlflow_says_so(world: World) -> None:
    """It is no failure: what is to do is known without."""

    class Away(BreakingStore):
        def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
            raise TryAgain("MLflow is away")

    world.store = Away(0)
    assert count_shown(world, ["run1"]).sentence == "cannot say how many have curves: MLflow is away"
    assert count_shown(world, []).sentence == ""


def test_the_rules_of_a_batch_larger_than_a_query_are_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run keeps its own, whatever the batch's size."""
    monkeypatch.setattr(backfilling, "IDS_AT_ONCE", 2)
    for number, item in enumerate(world.items):
        rules = f'[names]\nval_total_loss = "mine{number}"\n'
        backfill_runs(world, [item], How(since=datetime.now(UTC), rules=rules))
    result = backfill_runs(world, world.items, How(since=datetime.now(UTC), force=True, interval=2))
    assert (result.published, result.failed) == (len(world.items), {})
    for number, kept in enumerate(world.histories.read_kept([item.quick_test_id for item in world.items])):
        assert f"mine{number}" in json.loads(kept.history_text or "{}")["metrics"]


@pytest.mark.parametrize("histograms", [False, True])
def test_a_teams_rules_name_the_series_and_are_stored_with_the_run(world: World, *, histograms: bool) -> None:
    """What is compared with it later is named by the same rules, for every caller."""
    rules = '[names]\nval_total_loss = "mine"\n[[patterns]]\nmatch = "query_weights_*"\nname = "w/{1}"\n'
    result = backfill_runs(world, world.items[:1], How(since=datetime.now(UTC), rules=rules, histograms=histograms))
    assert result.published == 1
    (kept,) = world.histories.read_kept([world.items[0].quick_test_id])
    assert kept.versions == Versions(rules=rules)
    assert kept.history_text is not None
    history = json.loads(kept.history_text)
    assert history["loss"]["val_total"] == []
    assert {"mine", "w/mean", "w/std", "w/min", "w/max"} <= history["metrics"].keys()
