"""One run of the MLflow that the settings name."""

from contextlib import closing
from functools import partial

from clients.connect import connect
from history.tracking import LostRun, RawRun
from tasks.policy import effect

RETRIES = 1
"""A server is waited for within, two minutes at its start and five times a call: more would hold up reconcile."""


@partial(effect, retries=RETRIES)
def read_mlflow_run(run_id: str) -> RawRun:
    """The run with all its metrics, deleted or not; one that is not there, or cannot be read, is an error."""
    with closing(connect().tracking) as tracking:
        for found in tracking.read_runs([run_id]):
            if isinstance(found, LostRun):
                raise found.error
            return found
    raise AssertionError(f"read_runs yields each run once; it left out {run_id}")
