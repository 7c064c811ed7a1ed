"""Reads what a run's job left, here or in MLflow."""

from contextlib import closing
from functools import partial

from switchyard.clients.connect import connect
from switchyard.core.errors import NotFound
from switchyard.core.metrics.record import MAX_FILE_BYTES
from switchyard.core.mlflow.raw_run import LostRun, RawRun
from switchyard.core.mlflow.sources import MAX_INFO_BYTES
from switchyard.core.runs.own_words import MAX_ENDED_BYTES
from tasks.policy import effect

RETRIES = 1
"""A server is waited for within, two minutes at its start and five times a call: more would hold up reconcile."""


@effect
def read_metrics_file(uri: str) -> bytes:
    """Reads the bytes of a ``training_metrics.json``; a file above 64 MB is refused unread."""
    data, _ = connect().objects(uri).read(uri, max_bytes=MAX_FILE_BYTES)
    return data


@effect
def read_mlflow_info_file(uri: str) -> bytes | None:
    """Reads the bytes of an ``mlflow_info.json``; None: there is none, as for every run that logs to its file alone.

    A file above 64 KB is refused unread.
    """
    try:
        data, _ = connect().objects(uri).read(uri, max_bytes=MAX_INFO_BYTES)
    except NotFound:
        return None
    return data


@effect
def read_ended_file(uri: str) -> bytes | None:
    """Reads the bytes of an ``ended.json``; None: there is none, as for every training that was killed."""
    try:
        data, _ = connect().objects(uri).read(uri, max_bytes=MAX_ENDED_BYTES)
    except NotFound:
        return None
    return data


@partial(effect, retries=RETRIES)
def read_mlflow_run(run_id: str) -> RawRun:
    """Reads the run with all its metrics, deleted or not; it is an error if it is not there, or cannot be read."""
    with closing(connect().tracking) as tracking:
        for found in tracking.read_runs([run_id]):
            if isinstance(found, LostRun):
                raise found.error
            return found
    raise AssertionError(f"read_runs yields each run once; it left out {run_id}")
