"""What a published history says of its run besides its metrics, and what a publish keeps of the one before.

It says which run it is nested in, and how far it is.
"""

from typing import Final

import msgspec

from switchyard.core.history.publication import Parent, Progress, Publication
from switchyard.core.history.values import to_values
from switchyard.core.metrics.record import MetricsRecord

_DIGITS: Final = 9  # of a number of epochs


def to_parent(mlflow_run_id: str) -> Parent | None:
    """Returns the parent before anyone has looked for its row; None if the run is in no other."""
    return Parent(quick_test_id=None, mlflow_run_id=mlflow_run_id) if mlflow_run_id else None


def to_parent_of(publication: Publication | None) -> str:
    """Returns the MLflow run that the published run is nested in; empty: none."""
    parent = publication.history.get("parent") if publication is not None else None
    return str(parent["mlflow_run_id"]) if parent else ""


def with_parent(publication: Publication, parent: Parent) -> Publication:
    """Returns the publication with that parent.

    No digest covers the parent, so it can be found after the rest was made.
    """
    history = publication.history | {"parent": msgspec.to_builtins(parent)}
    return msgspec.structs.replace(publication, history=history)


def keep_told(publication: Publication, stored_text: str) -> Publication:
    """Returns `publication`, with the tags and parent that are published already if it is of a run's own file.

    Such a file knows neither: they are the MLflow run's.
    """
    history = publication.history
    run_id = history.get("mlflow_run_id")
    if history.get("source") != "file" or not run_id or history.get("tags") or history.get("parent"):
        return publication
    stored = msgspec.json.decode(stored_text)
    tags, parent = stored.get("tags") or {}, stored.get("parent")
    if stored.get("mlflow_run_id") != run_id or not (tags or parent):
        return publication
    values = to_values(final={}, last={}, best={}, params={}, tags=tags)
    return msgspec.structs.replace(
        publication, history=history | {"tags": tags, "parent": parent}, values=[*publication.values, *values]
    )


def keep_rules(publication: Publication, stored: str) -> Publication:
    """Returns `publication`, with the rules that the run was published by before if it is of a run's own file.

    The names of such a file need no rules. They are the run's, for when it is read from MLflow again.
    """
    if publication.history.get("source") != "file" or publication.versions.rules:
        return publication
    return (
        msgspec.structs.replace(publication, versions=msgspec.structs.replace(publication.versions, rules=stored))
        if stored
        else publication
    )


def to_progress(record: MetricsRecord) -> Progress | None:
    """Returns how far the run of the partial `record` is, and when its newest point was logged; None: it has ended.

    A param `epochs` says how many epochs there are to be.
    """
    if record.status != "partial":
        return None
    said = str(record.params.get("epochs", ""))
    epochs = int(said) if said.isascii() and said.isdigit() and len(said) <= _DIGITS else None
    done = len(record.epochs)
    return Progress(epochs_done=done, epochs=epochs if epochs and epochs >= done else None, at=record.saved_at)
