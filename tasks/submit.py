"""Submits one job for each run, unless it has one."""

import msgspec
from prefect.runtime import task_run

from switchyard.clients.connect import connect
from switchyard.clients.mlflow.job_variables import to_job_variables
from switchyard.core.runs.jobs import JobOrder, JobReport, to_labels
from switchyard.core.runs.rows import Job
from tasks.policy import effect
from tasks.turns import is_limited, take_turn

RETRY_TURN_S = 60.0
"""How long a repeated submission waits for its turn: five of them fit in the grace that reconcile gives a claim."""


@effect
def submit_job(job: Job, order: JobOrder) -> JobReport:
    """Returns the one job of `job.key`, started if there is none yet; it has this database's labels."""
    outside = connect()
    if is_limited() and (task_run.run_count or 1) > 1:
        # The first try's turn was taken by the flow; each further create is one more.
        take_turn(RETRY_TURN_S)
    labels = to_labels(outside.runs.read_database_id(), job.quick_test_id, job.attempt)
    return outside.launcher.submit(job.key, msgspec.structs.replace(order, labels=labels))


@effect
def check_tracking() -> dict[str, str]:
    """Returns the variables of a job that logs to MLflow; raises what is missing for that before anything starts."""
    return to_job_variables(connect().settings)
