"""What a history says of its run besides its metrics: tables of values."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from switchyard.core.history.following import keep_told, to_parent, to_parent_of, to_progress, with_parent
from switchyard.core.history.publication import Digests, Parent, Publication, Rank, Value
from switchyard.core.metrics.record import MetricsRecord

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
PARENT = {"quick_test_id": 3, "mlflow_run_id": "p"}
TOLD = {"source": "mlflow", "mlflow_run_id": "m", "tags": {"stage": "draft"}, "parent": PARENT}


def make(**history: Any) -> Publication:
    found = {"source": "file", "mlflow_run_id": "m", "tags": {}, "parent": None} | history
    return Publication(quick_test_id=7, history=found, digests=Digests(charted="a"), rank=Rank(), histograms=[])


def test_a_file_keeps_what_its_mlflow_run_has_told() -> None:
    """Tags, as values too, and the parent: a file knows of neither."""
    found = keep_told(make(), json.dumps(TOLD))
    assert (found.history["tags"], found.history["parent"]) == ({"stage": "draft"}, PARENT)
    assert found.values == [Value(kind="tag", name="stage", text="draft")]


@pytest.mark.parametrize(
    ("new", "stored"),
    [
        (make(source="mlflow"), TOLD),
        (make(mlflow_run_id=""), TOLD | {"mlflow_run_id": ""}),
        (make(mlflow_run_id="other"), TOLD),
        (make(tags={"stage": "done"}), TOLD),
        (make(), {"schema_version": 1, "mlflow_run_id": "m"}),
        (make(), TOLD | {"tags": {}, "parent": None}),
    ],
)
def test_whatever_knows_better_is_published_as_it_is(new: Publication, stored: dict[str, Any]) -> None:
    """MLflow itself, another MLflow run's file, and what no one has told."""
    assert keep_told(new, json.dumps(stored)) is new


def test_a_parent_is_found_after_the_rest_was_made() -> None:
    """No digest speaks of it."""
    assert to_parent("") is None
    assert to_parent("p") == Parent(quick_test_id=None, mlflow_run_id="p")
    nested = make(parent={"quick_test_id": None, "mlflow_run_id": "p"})
    assert (to_parent_of(nested), to_parent_of(make()), to_parent_of(None)) == ("p", "", "")
    found = with_parent(nested, Parent(quick_test_id=3, mlflow_run_id="p"))
    assert found.history["parent"] == PARENT
    assert found.digests == nested.digests
    assert nested.history["parent"] == {"quick_test_id": None, "mlflow_run_id": "p"}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, None),
        ({"epochs": "50"}, 50),
        ({"epochs": 50}, 50),
        ({"epochs": "1"}, None),  # fewer than there are: it counts something else
        ({"epochs": "many"}, None),
        ({"epochs": "9" * 5_000}, None),
        ({"epochs": "-3"}, None),
    ],
)
def test_progress_says_how_many_epochs_there_are_to_be_where_a_param_does(
    params: dict[str, Any], expected: int | None
) -> None:
    """Of a run that goes on; one that has ended has none."""
    record = MetricsRecord(status="partial", saved_at=AT, epochs=[0, 1], params=params)
    progress = to_progress(record)
    assert progress is not None
    assert (progress.epochs_done, progress.epochs, progress.at) == (2, expected, AT)
    record.status = "completed"
    assert to_progress(record) is None
