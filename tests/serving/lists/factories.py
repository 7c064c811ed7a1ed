"""Runs that differ in what a list and a comparison show of them."""

from datetime import timedelta
from typing import Any

from switchyard.core.history.publication import Parent
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import Sampling
from switchyard.core.runs.rows import NewRun, RunStatus
from tests.clients.results.places import NOW
from tests.serving.factories import Publishing, make_record


def add_run(
    place: Publishing,
    name: str,
    *,
    recall: float | None = 0.08,
    popularity: float = 0.02,
    experiment: str = "",
    parent: Parent | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    **changes: Any,
) -> int:
    """A completed run of five epochs with a recall on the test; its id."""
    new = NewRun(request_key=name, display_name=name, mlflow_experiment_name=experiment)
    run = place.runs.create_run(new, now=NOW)
    final = {} if recall is None else {"test_recall_at_10": recall, "popularity_recall_at_10": popularity}
    record = make_record(
        epochs=5,
        histograms=False,
        **{"final_metrics": final, "params": {"optimizer": "adam", **(params or {})}, **changes},
    )
    publication = to_publication(
        record,
        quick_test_id=run.id,
        source="file",
        sampling=Sampling(interval=1),
        row_status=RunStatus.COMPLETED,
        parent=parent,
        tags=tags,
    )
    place.histories.publish(publication, now=NOW + timedelta(seconds=1))
    return run.id
