"""What backfill plans: tables of rows, and of MLflow's runs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from switchyard.core.backfill.plan import (
    How,
    PlannedRun,
    ToDo,
    choose_adopted,
    choose_todo,
    make_plan,
    to_batches,
    to_export_only,
)
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.runs.rows import RunStatus
from tests.core.mlflow.factories import START_MS, make_info

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def make_row(number: int = 1, **changes: Any) -> BackfillRow:
    values: dict[str, Any] = {"id": number, "status": "completed", "mlflow_run_id": f"run{number}"}
    return BackfillRow(**(values | changes))


def how(**changes: Any) -> How:
    return How(since=NOW, **changes)


CHARTED = {"published": "ours", "charted_digest": "sha256:a"}
WHOLE = CHARTED | {"full_digest": "sha256:b"}
CASES: list[tuple[dict[str, Any], dict[str, Any], ToDo | None]] = [
    ({}, {}, "publish"),
    ({"mlflow_run_id": ""}, {"force": True, "full": True}, None),
    ({"published": "legacy"}, {}, None),
    ({"published": "legacy"}, {"full": True}, None),
    ({"published": "legacy"}, {"force": True}, "replace"),
    (CHARTED, {}, None),
    (CHARTED, {"force": True}, "replace"),
    (CHARTED, {"histograms": True}, "complete"),
    (CHARTED, {"full": True}, "complete"),
    (WHOLE, {"histograms": True}, None),
    # Of its own file: there is nothing to write.
    (WHOLE, {"full": True}, None),
    (WHOLE | {"lacks_file": True}, {"full": True}, "write the file"),
    (WHOLE | {"lacks_file": False}, {"full": True}, None),
    (WHOLE | {"lacks_file": True}, {}, None),
    ({"ledger_state": "failed"}, {}, "publish"),
    ({"ledger_state": "done"}, {}, "publish"),
]


@pytest.mark.parametrize(("row", "wanted", "expected"), CASES)
def test_what_is_to_do_follows_from_what_is_published(
    row: dict[str, Any], wanted: dict[str, Any], expected: ToDo | None
) -> None:
    """Never from what an earlier backfill meant to do: it may have been killed anywhere."""
    assert choose_todo(make_row(**row), how(**wanted)) == expected


def test_a_plan_counts_all_rows_and_lists_what_is_left_out() -> None:
    """What is published already is counted, and needs no line."""
    rows = [
        make_row(1),
        make_row(2, **CHARTED),
        make_row(3, published="legacy"),
        make_row(4, mlflow_run_id=""),
        make_row(5, status="failed"),
        make_row(6, mlflow_run_id="", **WHOLE),
    ]
    plan = make_plan(rows, how())
    counts = (plan.rows, plan.completed, plan.with_mlflow_run, plan.published, plan.legacy)
    assert counts == (6, 5, 3, 2, 1)
    assert [item.quick_test_id for item in plan.to_do] == [1]
    assert plan.runs[0] == PlannedRun(quick_test_id=1, mlflow_run_id="run1", status="completed", todo="publish")
    left_out = {run.quick_test_id: run.why_not for run in plan.runs if run.todo is None}
    assert left_out.keys() == {3, 4}
    assert "--force" in left_out[3]
    assert "no MLflow run" in left_out[4]
    assert [item.quick_test_id for item in make_plan(rows, how(), status="all").to_do] == [1, 5]


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_part_the_work(shards: int) -> None:
    """Each run is in one shard, whatever was published meanwhile."""
    rows = [make_row(number) for number in range(1, 21)]
    plans = [make_plan(rows, how(), shards=shards, shard=shard) for shard in range(1, shards + 1)]
    ids = [item.quick_test_id for plan in plans for item in plan.to_do]
    assert sorted(ids) == list(range(1, 21))
    later = [replace_published(row) if row.id % 3 else row for row in rows]
    again = make_plan(later, how(), shards=shards, shard=1)
    assert {item.quick_test_id for item in again.to_do} <= {item.quick_test_id for item in plans[0].to_do}


def replace_published(row: BackfillRow) -> BackfillRow:
    return make_row(row.id, **CHARTED)


def test_the_limit_takes_the_lowest_ids() -> None:
    """Of what is to do, not of all rows."""
    rows = [make_row(1, **CHARTED), make_row(2), make_row(3), make_row(4)]
    assert [item.quick_test_id for item in make_plan(rows, how(), limit=2).to_do] == [2, 3]


def test_batches_hold_each_item_once() -> None:
    """In their order; the last may be shorter."""
    items = make_plan([make_row(number) for number in range(1, 6)], how()).to_do
    batches = to_batches(items, 2)
    assert [len(batch.items) for batch in batches] == [2, 2, 1]
    assert [item for batch in batches for item in batch.items] == items


def test_runs_that_no_row_knows_are_adopted_oldest_first() -> None:
    """With MLflow's status, times, name and experiment."""
    tracked = [
        make_info(run_id="b", started_at_ms=START_MS + 5_000),
        make_info(run_id="a", status="KILLED"),
        make_info(run_id="known"),
    ]
    found = choose_adopted(tracked, {"known", ""}, status="all")
    assert [run.mlflow_run_id for run in found.runs] == ["a", "b"]
    killed, finished = found.runs
    assert (killed.status, finished.status) == (RunStatus.CANCELLED, RunStatus.COMPLETED)
    assert (finished.display_name, finished.mlflow_experiment_name) == ("a run", "two-tower")
    assert finished.started_at == finished.created_at == datetime(2023, 7, 22, 4, 26, 45, tzinfo=UTC)
    assert finished.completed_at == datetime(2023, 7, 22, 4, 27, 40, tzinfo=UTC)
    assert finished.request_key == "mlflow:b"


LEFT_OUT = {
    "deleted": ({"lifecycle": "deleted"}, "deleted in MLflow"),
    "of a deleted experiment": ({"experiment_lifecycle": "deleted"}, "two-tower"),
    "of an unknown status": ({"status": "SLEEPING"}, "SLEEPING"),
    "not finished": ({"status": "RUNNING"}, "--status all"),
}


@pytest.mark.parametrize(("changes", "said"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_run_that_is_not_adopted_is_listed_with_its_reason(changes: dict[str, Any], said: str) -> None:
    """Nothing that MLflow has goes by unsaid."""
    found = choose_adopted([make_info(run_id="a", **changes)], set())
    assert found.runs == []
    (line,) = found.left_out
    assert line.mlflow_run_id == "a"
    assert said in line.why_not


@pytest.mark.parametrize("at_ms", [None, -1, 0, 1_690_000_000_000_000_000])
def test_a_time_that_is_none_is_left_out(at_ms: int | None) -> None:
    """A run without a start, or with nanoseconds for milliseconds, is adopted all the same."""
    (run,) = choose_adopted([make_info(started_at_ms=at_ms, ended_at_ms=at_ms)], set()).runs
    assert (run.started_at, run.completed_at) == (None, None)


def test_what_only_an_export_keeps_depends_on_what_is_read() -> None:
    """A whole file leaves only what no record has; the charted series leave all else."""
    charted, histograms, full = (to_export_only(how(**wanted)) for wanted in ({}, {"histograms": True}, {"full": True}))
    assert set(full) < set(histograms) < set(charted)
    assert "histograms" in charted
    assert "histograms" not in histograms
    assert any("time of each point" in line for line in full)


def test_only_a_run_of_which_nothing_is_published_is_new() -> None:
    """Of the others the digests of an earlier version may be met, and are made."""
    plan = make_plan([make_row(1), make_row(2, published="legacy"), make_row(3, **WHOLE)], how(force=True))
    assert [item.is_new for item in plan.to_do] == [True, False, False]
