"""Which batches of an unfinished export are taken as they are."""

from datetime import UTC, datetime

import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.mlflow import export_batches
from switchyard.core.mlflow.export import Part
from switchyard.core.mlflow.export_batches import Batch, plan_batches, read_batch

LISTED = ["a", "b", "c", "d", "e"]
MARKS = {run_id: f"raw1:{run_id}" for run_id in LISTED}
PART = Part(name="tables/runs/000000000-0123456789abcdef.parquet", rows=2, digest="sha256:0", generation=5)


def make(number: int, ids: str, **changes: object) -> Batch:
    """Of the runs with these one-letter ids."""
    marks = {run_id: f"raw1:{run_id}" for run_id in ids}
    values = {"source": "here", "part_rows": 9, "runs": marks, "parts": {"runs": [PART]}, **changes}
    return Batch(number=number, read_at=datetime(2026, 1, 1, tzinfo=UTC), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("batches", "kept", "todo"),
    [
        ([], [], {0: ["a", "b"], 1: ["c", "d"], 2: ["e"]}),
        ([make(0, "ab")], [0], {1: ["c", "d"], 2: ["e"]}),
        ([make(1, "cd"), make(0, "ab")], [0, 1], {2: ["e"]}),
        ([make(0, "ab"), make(1, "cd"), make(2, "e")], [0, 1, 2], {}),
        ([make(0, "ab", runs={"a": "raw1:a", "b": "raw1:changed"}), make(1, "cd")], [1], {2: ["a", "b"], 3: ["e"]}),
        ([make(0, "ab", runs={"a": "raw1:a", "b": ""})], [], {0: ["a", "b"], 1: ["c", "d"], 2: ["e"]}),
        ([make(0, "ax")], [], {0: ["a", "b"], 1: ["c", "d"], 2: ["e"]}),
        ([make(0, "ab", source="elsewhere")], [], {0: ["a", "b"], 1: ["c", "d"], 2: ["e"]}),
        ([make(0, "ab", part_rows=8)], [], {0: ["a", "b"], 1: ["c", "d"], 2: ["e"]}),
        ([make(0, "a")], [0], {1: ["b", "c"], 2: ["d", "e"]}),
        ([make(0, "ab"), make(1, "bc")], [0], {1: ["c", "d"], 2: ["e"]}),
    ],
    ids=["none", "the first", "in any order", "all", "one has changed", "one never stood still", "one is gone",
         "another store", "other parts", "one was missing", "one is in two"],
)  # fmt: skip
def test_batches_are_taken_where_nothing_has_changed(
    batches: list[Batch], kept: list[int], todo: dict[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other runs are read, in the order of their ids; numbers go on after the last that is taken."""
    monkeypatch.setattr(export_batches, "RUNS", 2)
    plan = plan_batches(LISTED, MARKS, batches, source="here", part_rows=9, is_there=lambda part: True)
    assert ([batch.number for batch in plan.kept], plan.todo) == (kept, todo)


def test_batch_that_lacks_a_part_is_read_again() -> None:
    """Or has another one in its place."""
    plan = plan_batches(LISTED, MARKS, [make(0, "ab")], source="here", part_rows=9, is_there=lambda part: False)
    assert (plan.kept, plan.todo) == ([], {0: LISTED})


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": 2}', b"[1"])
def test_record_that_is_damaged_is_none(data: bytes) -> None:
    """So is one of a later format."""
    with pytest.raises(BadRecord):
        read_batch(data, "file:///x/batches/000000.json")
