"""Export: writes MLflow's whole database to files that outlive it.

`restore` fills a database from them. If no database can be read, the files hold all that MLflow's server tells.
"""

from prefect import flow

from flows.answers.store import ExportFailed, ExportResult, to_export_result
from flows.mlflow_parameters import ExportParameters
from flows.progress.stores import run_watched
from flows.signatures import takes
from tasks.export import export_mlflow, read_moved, to_export_uri
from tasks.show import name_flow_run, show_export


@flow(name="export")
@takes(ExportParameters)
def export(wanted: ExportParameters) -> ExportResult:
    """Writes every table, and what artifacts there are and where, and reads all of it back.

    Killed at any point and run again, it ends as if it had not been killed: there is no export before its marker, and
    parts that are there already are not written again. An old export is brought up to date.

    It exports all others before it fails, and names the runs and models that a server could not tell.
    """
    name_flow_run("export")
    to_uri = to_export_uri(wanted.to_uri)
    parameters = {
        "to_uri": to_uri,
        "part_rows": wanted.part_rows,
        "list_objects": wanted.list_objects,
        "artifacts_destination": wanted.artifacts_destination,
        "artifacts_roots": wanted.artifacts_roots,
    }
    found = run_watched(export_mlflow, parameters, uri=to_uri, key="export-progress")
    moved = read_moved(to_uri)
    result = to_export_result(to_uri, found, written=moved.written if moved else 0)
    show_export("export", result.table)
    if result.missing:
        raise ExportFailed(result)
    return result
