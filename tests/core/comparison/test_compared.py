"""Runs side by side: what differs, which value is the best, and what a run lacks."""

import json
from typing import Any

import msgspec
import pytest

from switchyard.core.comparison.compared import ComparedRun, Comparison, choose_ids, compare
from switchyard.core.comparison.found import FoundRun
from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.history.publication import Value


def make_history(**changes: Any) -> str:
    history = {
        "available": True,
        "epochs": [0, 5],
        "loss": {"train": [0.9, 0.5], "val": [0.95, None], "total": []},
        "gradient": {"total": [1.5, 2.5]},
        "metrics": {"learning_rate": [0.1, 0.1]},
        "series": {"batch_loss": {"steps": [0, 99], "values": [7.1, 5.6], "kept": 2, "total": 100}},
        "best": {"val_loss": {"value": 0.3, "epoch": 3, "direction": "min"}},
        "final_metrics": {"test_recall_at_10": 0.07, "speed": 3.0},
        "params": {"epochs": 6, "optimizer": "adam", "bias": True},
        "tags": {"team": "a"},
        "schema_version": 2,
        "status": "completed",
        **changes,
    }
    return json.dumps(history)


def made(id_: int, history: str | None = None, values: list[Value] | None = None) -> ComparedRun:
    return ComparedRun(run=FoundRun(id=id_, status="completed"), history_json=history, values=values)


def to_json(comparison: Comparison) -> Any:
    return json.loads(msgspec.json.encode(comparison))


def test_curves_are_put_together_by_name() -> None:
    """Under the names that the full series have; those of no point are none; on the run's epochs or on own steps."""
    other = make_history(epochs=[0, 1], loss={"train": [0.8, 0.7]}, gradient={}, metrics={}, series={})
    found = to_json(compare([1, 2], [made(1, make_history()), made(2, other)]))
    curves = {curve["name"]: curve for curve in found["curves"]}
    assert list(curves) == ["loss", "val_loss", "gradient.total", "learning_rate", "batch_loss"]
    assert curves["loss"]["runs"] == [{"id": 1, "values": [0.9, 0.5]}, {"id": 2, "values": [0.8, 0.7]}]
    assert curves["batch_loss"]["runs"] == [{"id": 1, "values": [7.1, 5.6], "steps": [0, 99]}]
    assert (curves["loss"]["direction"], curves["learning_rate"]["direction"]) == ("min", None)
    assert [run["epochs"] for run in found["runs"]] == [[0, 5], [0, 1]]


def test_best_value_is_marked_by_its_direction() -> None:
    """The least loss, the greatest recall; all of those that are equal; none without a way, or where one run has it."""
    values = [
        [("final", "test_recall_at_10", 0.07), ("last", "loss", 0.5), ("final", "speed", 1.0), ("best", "loss", 0.4)],
        [("final", "test_recall_at_10", 0.09), ("last", "loss", 0.5), ("final", "speed", 2.0)],
        [("final", "test_recall_at_10", 0.08), ("last", "loss", 0.6)],
    ]
    runs = [
        made(id_, make_history(), [Value(kind=kind, name=name, number=number) for kind, name, number in of_run])  # type: ignore[arg-type]  # they are kinds
        for id_, of_run in enumerate(values, 1)
    ]
    found = {value.field: value for value in compare([1, 2, 3], runs).values}
    assert (found["metrics.test_recall_at_10"].direction, found["metrics.test_recall_at_10"].best) == ("max", [2])
    assert found["metrics.loss"].best == [1, 2]
    assert (found["metrics.speed"].values, found["metrics.speed"].best) == ([1.0, 2.0, None], [])
    assert found["best.loss"].best == []


def test_direction_that_a_run_was_published_with_counts() -> None:
    """It was given for a name that says nothing. Where two runs say the opposite, the name decides."""
    best = {"speed": {"value": 3.0, "epoch": 1, "direction": "max"}}
    values = [[Value(kind="best", name="speed", number=number)] for number in (1.0, 2.0)]
    histories = [make_history(best=best), make_history()]
    found = compare([1, 2], [made(id_, histories[id_ - 1], values[id_ - 1]) for id_ in (1, 2)])
    assert found.values[0].best == [2]
    histories[1] = make_history(best={"speed": {"value": 3.0, "epoch": 1, "direction": "min"}})
    found = compare([1, 2], [made(id_, histories[id_ - 1], values[id_ - 1]) for id_ in (1, 2)])
    assert found.values[0].best == []


def test_only_what_differs_is_listed() -> None:
    """A param of MLflow is a text, and is the same as a number; one that a run lacks differs."""
    other = make_history(
        params={"epochs": "6", "optimizer": "Adam", "bias": "True", "layers": [1, 2]}, tags={"team": "a", "note": "x"}
    )
    found = compare([1, 2], [made(1, make_history()), made(2, other)])
    assert {one.name: one.values for one in found.params.differ} == {
        "optimizer": ["adam", "Adam"],
        "layers": [None, [1, 2]],
    }
    assert found.params.same == {"epochs": 6, "bias": True}
    assert [(one.name, one.values) for one in found.tags.differ] == [("note", [None, "x"])]
    assert found.tags.same == {"team": "a"}


def test_what_a_run_lacks_is_named() -> None:
    """Curves, values, params and tags that another one has; a run with nothing published lacks all."""
    found = compare([1, 2], [made(1, make_history()), made(2)])
    full, empty = found.lacks
    assert (full.available, full.curves, full.values, full.params, full.tags) == (True, [], [], [], [])
    assert (empty.available, empty.params, empty.tags) == (False, ["bias", "epochs", "optimizer"], ["team"])
    assert empty.curves == ["loss", "val_loss", "gradient.total", "learning_rate", "batch_loss"]
    assert "metrics.test_recall_at_10" in empty.values
    assert found.runs[1]["available"] is False


def test_values_come_from_the_history_where_none_are_stored() -> None:
    """Published before there were any, or written over: the history says them by itself."""
    found = {value.field: value.values for value in compare([1], [made(1, make_history())]).values}
    assert found["metrics.test_recall_at_10"] == [0.07]
    assert found["best.val_loss"] == [0.3]
    assert found["metrics.loss"] == [0.5]


def test_legacy_histories_are_compared_with_new_ones() -> None:
    """Ragged, with tokens that are no JSON: what comes out is strict. What cannot be read has nothing."""
    legacy = (
        '{"available": true, "epochs": [0, 5], "loss": {"train": [1.5, NaN], "val": [1.6]}, "params": {"a": Infinity}}'
    )
    found = to_json(compare([1, 2, 3], [made(1, make_history()), made(2, legacy), made(3, "no JSON" * 99)]))
    curves = {curve["name"]: curve["runs"] for curve in found["curves"]}
    assert curves["val_loss"][1] == {"id": 2, "values": [1.6, None]}
    assert {one["name"]: one["values"] for one in found["params"]["differ"]}["a"] == [None, None, None]
    assert (found["runs"][2]["available"], found["runs"][2]["epochs"]) == (True, [])


def test_runs_are_in_the_order_that_was_asked() -> None:
    """And those that are not there are named."""
    found = compare([3, 9, 1], [made(1), made(3)])
    assert (found.ids, found.missing, [run["id"] for run in found.runs]) == ([3, 1], [9], [3, 1])
    with pytest.raises(NotFound, match=r"none of these runs is there.*: 7, 8"):
        compare([7, 8], [])


def test_ids_are_bounded_and_counted_once() -> None:
    """An id that is there twice is one run."""
    assert choose_ids([1, 3, 1]) == [1, 3]
    assert len(choose_ids([*range(1, 21), *range(1, 21)])) == 20
    with pytest.raises(BadRequest, match=r"1 to 20 runs.*it names 21"):
        choose_ids(range(1, 22))
