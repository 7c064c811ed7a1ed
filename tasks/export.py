"""Exports and restores MLflow's raw store: each is one task. With a database, each is also one transaction."""

from collections.abc import Sequence
from contextlib import closing

import msgspec

from switchyard.clients.connect import connect
from switchyard.clients.mlflow.export.artifacts import Places
from switchyard.clients.mlflow.export.from_tracking import export_answers
from switchyard.clients.mlflow.export.restore import restore_store
from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.objects.allowed_places import open_places
from switchyard.core.mlflow.export import Export, Moved, Watcher
from tasks.policy import effect

_moved: dict[str, Moved] = {}
_interrupted: set[str] = set()


@effect
def export_mlflow(
    to_uri: str, part_rows: int, list_objects: bool, artifacts_destination: str, artifacts_roots: Sequence[str] = ()
) -> Export:
    """Exports the MLflow database that the settings name; if they name none, what their server tells.

    A second call writes only what is not there yet. It does not read again what an unfinished export has read of a
    server.
    """
    outside = connect()
    allowed = outside.to_allowed(artifacts_roots, artifacts_destination)
    # A list of a bucket copies nothing, and leaves out the export itself: what else is ours there may be in it.
    allowed = msgspec.structs.replace(allowed, ours=tuple(own for own in allowed.ours if own.startswith("file:")))
    places = Places(outside.objects, open_places(allowed), artifacts_destination) if list_objects else None
    if outside.settings.mlflow_tracking_uri and not outside.settings.mlflow_backend_store_uri:
        store = outside.open_answers()
        with closing(store.tracking):
            return export_answers(
                store,
                to_uri,
                outside.objects(to_uri),
                part_rows=part_rows,
                places=places,
                watch=_to_watcher(to_uri),
            )
    return export_store(
        outside.settings.mlflow_backend_store_uri,
        to_uri,
        outside.objects(to_uri),
        part_rows=part_rows,
        places=places,
        watch=_to_watcher(to_uri),
    )


@effect
def restore_mlflow(from_uri: str) -> tuple[Export, bool]:
    """Fills the database of MLFLOW_RESTORE_STORE_URI; a second call only compares it, and returns False."""
    outside = connect()
    store_uri = outside.settings.mlflow_restore_store_uri
    return restore_store(from_uri, outside.objects(from_uri), store_uri, watch=_to_watcher(from_uri))


def to_export_uri(uri: str) -> str:
    """Returns the export's URI, without a slash at its end; empty: beside the artifacts.

    It is not a task: nothing is asked.
    """
    return uri.rstrip("/") or f"{connect().settings.artifacts_uri}/mlflow-export"


def read_moved(uri: str) -> Moved | None:
    """Says how far this process's task on the export at `uri` is.

    It is not a task: only a progress bar depends on it.
    """
    return _moved.get(uri)


def interrupt(uri: str) -> None:
    """Ends this process's task on the export at `uri` at its next part: a thread cannot be ended from outside."""
    _interrupted.add(uri)


def _to_watcher(uri: str) -> Watcher:
    _interrupted.discard(uri)
    _moved.pop(uri, None)

    def watch(moved: Moved) -> None:
        if uri in _interrupted:
            raise KeyboardInterrupt
        _moved[uri] = moved

    return watch
