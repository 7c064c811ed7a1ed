"""Restore: makes MLflow's database again from an export alone. An MLflow server of the same version starts on it."""

from prefect import flow

from flows.answers.store import RestoreResult, to_restore_result
from flows.mlflow_parameters import RestoreParameters
from flows.progress.stores import run_watched
from flows.signatures import takes
from tasks.export import restore_mlflow, to_export_uri
from tasks.show import name_flow_run, show_export


@flow(name="restore")
@takes(RestoreParameters)
def restore(wanted: RestoreParameters) -> RestoreResult:
    """Fills the empty database of MLFLOW_RESTORE_STORE_URI in one transaction, then compares every row with the export.

    A second call on a database that holds exactly the export only compares it; any other one is refused.
    """
    name_flow_run("restore")
    from_uri = to_export_uri(wanted.from_uri)
    export, filled = run_watched(restore_mlflow, {"from_uri": from_uri}, uri=from_uri, key="restore-progress")
    result = to_restore_result(from_uri, export, filled=filled)
    show_export("restore", result.table)
    return result
