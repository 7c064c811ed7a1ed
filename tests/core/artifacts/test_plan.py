"""What is to be done of the artifacts of many runs, and of the objects of one."""

from switchyard.core.artifacts.manifest import Copied, LeftOut, SourceObject, to_manifest
from switchyard.core.artifacts.plan import (
    ArtifactRun,
    RunPlan,
    choose,
    is_up_to_date,
    to_batches,
    to_totals,
)

A = Copied(path="a", size_bytes=1, sha256="a" * 64, generation=7)
B = Copied(path="b", size_bytes=2, sha256="b" * 64, generation=3)


def seen(one: Copied, **changed: int) -> SourceObject:
    values = {"size_bytes": one.size_bytes, "generation": one.generation} | changed
    return SourceObject(path=one.path, **values)  # type: ignore[arg-type]


def test_only_what_is_new_or_has_changed_is_copied() -> None:
    """The others are kept as they were read."""
    found = [seen(A), seen(B, generation=4), SourceObject(path="c", size_bytes=1)]
    todo = choose(found, {"a": A, "b": B})
    assert todo.keep == (A,)
    assert [one.path for one in todo.copy] == ["b", "c"]


def test_a_copy_is_up_to_date_where_it_has_all_that_is_there() -> None:
    """A new and a changed object, another place, and another name that is refused each make a new copy.

    What is deleted stays in the copy.
    """
    left = (LeftOut(path="..", reason="no name"),)
    made = to_manifest("f" * 32, "gs://b/a", [A, B], left)
    there = [seen(A), seen(B)]
    assert is_up_to_date(made, "gs://b/a", there, left)
    assert not is_up_to_date(made, "gs://b/other", there, left)
    assert is_up_to_date(made, "gs://b/a", there[:1], left)
    assert not is_up_to_date(made, "gs://b/a", [*there, SourceObject(path="c", size_bytes=0)], left)
    assert not is_up_to_date(made, "gs://b/a", [seen(A), seen(B, generation=9)], left)
    assert not is_up_to_date(made, "gs://b/a", there, ())


def test_an_object_that_failed_is_tried_again() -> None:
    """It is there and not kept, so that a copy without it is not up to date."""
    made = to_manifest("f" * 32, "gs://b/a", [A], [LeftOut(path="b", reason="may not be read")])
    assert not is_up_to_date(made, "gs://b/a", [seen(A), seen(B)], [])


def make_run(number: int, uri: str) -> ArtifactRun:
    return ArtifactRun(mlflow_run_id=f"{number:032x}", artifact_uri=uri)


def test_runs_of_one_place_are_in_one_batch() -> None:
    """Next to each other, those within it too, whatever the size of a batch."""
    runs = [
        make_run(1, "gs://b/shared"),
        make_run(2, "gs://b/a"),
        make_run(3, "gs://b/shared/"),
        make_run(4, "gs://b/shared-not/x"),
        make_run(5, "gs://b/shared/within/a"),
        make_run(6, ""),
    ]
    batches = to_batches(runs, 1)
    found = [[int(run.mlflow_run_id, 16) for run in batch] for batch in batches]
    assert found == [[6], [2], [4], [1, 3, 5]]
    assert [len(batch) for batch in to_batches(runs, 10)] == [6]


def test_totals_are_of_all_runs() -> None:
    """Each state is counted, and what is to be copied."""
    plans = [
        RunPlan(
            mlflow_run_id="a", place="gs://b", state="to copy", objects=3, size_bytes=9, to_copy=2, to_copy_bytes=5
        ),
        RunPlan(mlflow_run_id="b", place="gs://c", state="copied", objects=1, size_bytes=1),
        RunPlan(mlflow_run_id="c", place="", state="nothing"),
        RunPlan(mlflow_run_id="d", place="x", state="unreachable", left_out=(LeftOut(path="p", reason="r"),)),
    ]
    totals = to_totals(plans)
    assert (totals.runs, totals.objects, totals.size_bytes, totals.to_copy, totals.to_copy_bytes) == (4, 4, 10, 2, 5)
    assert (totals.copied_runs, totals.to_copy_runs, totals.empty_runs, totals.unreachable_runs) == (1, 1, 1, 1)
    assert totals.left_out == 1
